//! The one conversion between the papers' time and the time networks were trained on.

/// The time fed to a network at paper time `t`: networks of this family (ermongroup/ddim, SA-DPM,
/// diffusers, guided-diffusion) count from 0, the papers from 1.
pub fn network_time(t: f64) -> f64 {
    t - 1.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_paper_time_is_network_time_zero() {
        assert_eq!(super::network_time(1.0), 0.0);
        assert_eq!(super::network_time(1000.0), 999.0);
    }
}
