//! The tables and charts that `diff-core` prints: every derived coefficient of a schedule, the
//! steps of a trajectory, the weights of the estimation gap.

use crate::{Error, Result};
use crate::{
    gap::{self, Bounds, TauMode},
    kl,
    plot::{LineChart, Series},
    rng::{Address, Purpose},
    schedule::Schedule,
    table::Table,
    time::network_time,
};

/// One row per t = 1..=T with every derived coefficient.
pub fn schedule_table(schedule: &Schedule) -> Table {
    let times = 1..=schedule.timesteps();
    let column = |f: &dyn Fn(usize) -> f64| times.clone().map(f).collect::<Vec<_>>();
    Table::new()
        .whole("t", times.clone())
        .real("beta", column(&|t| schedule.beta(t)))
        .real("alpha", column(&|t| schedule.alpha(t)))
        .real("alpha_bar", column(&|t| schedule.alpha_bar(t)))
        .real("one_minus_alpha_bar", column(&|t| schedule.one_minus_alpha_bar(t)))
        .real("gamma1", column(&|t| schedule.gamma1(t)))
        .real("gamma2", column(&|t| schedule.gamma2(t)))
        .real("beta_tilde", column(&|t| schedule.beta_tilde(t)))
        .real("log_beta_tilde", column(&|t| schedule.log_beta_tilde(t)))
        .real("snr", column(&|t| schedule.snr(t)))
        .real("log_snr", column(&|t| schedule.log_snr(t)))
        .real("ve_sigma", column(&|t| schedule.ve_sigma(t)))
        .real("c", column(&|t| schedule.gap_coefficient(t)))
        .real("tau", column(&|t| schedule.tau(t)))
        .real("r", column(&|t| schedule.reverse_gap(t)))
        .real("beta_prime", column(&|t| schedule.beta_prime(t)))
        .real("elbo_weight_beta", column(&|t| kl::elbo_weight(schedule, t, schedule.beta(t))))
        .real(
            "elbo_weight_beta_tilde",
            column(&|t| kl::elbo_weight(schedule, t, schedule.beta_tilde(t))),
        )
}

/// The chart of a schedule: its variances over time.
pub fn schedule_chart(title: String, table: &Table) -> LineChart {
    let names = ["alpha_bar", "one_minus_alpha_bar", "beta", "beta_tilde", "tau"];
    LineChart {
        title,
        x_label: "t".into(),
        y_label: "coefficient".into(),
        y_log: true,
        series: names.map(|name| table.series("t", name)).into(),
        ..LineChart::default()
    }
}

/// One row per visited time, ascending: the step from it down to the time before, with the DDIM
/// family's coefficients at `eta`. `times` are ascending members of 1..=T, as
/// [`crate::trajectory::resolve`] gives them.
///
/// # Errors
///
/// [`Error::Argument`] unless `eta` is in [0, 1].
pub fn trajectory_table(schedule: &Schedule, times: &[usize], eta: f64) -> Result<Table> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::argument("eta", eta, "a number in 0..=1"));
    }
    let before = std::iter::once(0).chain(times.iter().copied());
    let steps: Vec<_> = before.zip(times).map(|(s, &t)| schedule.step(s, t)).collect();
    let sigma = |i: usize| steps[i].ddim_sigma(eta);
    let indices = 0..steps.len();
    Ok(Table::new()
        .whole("i", 1..=steps.len())
        .whole("t", times.iter().copied())
        .whole("network_time", times.iter().map(|&t| network_time(t as f64) as usize))
        .whole("s", steps.iter().map(|step| step.s))
        .real("alpha_bar", steps.iter().map(|step| step.alpha_bar_t))
        .real("alpha_bar_s", steps.iter().map(|step| step.alpha_bar_s))
        .real("sigma", indices.clone().map(sigma))
        .real("sigma_hat", steps.iter().map(|step| step.beta().sqrt()))
        .real("c2", indices.map(|i| steps[i].ddim_direction(sigma(i)))))
}

/// The chart of a trajectory: visited times in the order they are listed.
pub fn trajectory_chart(title: String, table: &Table) -> LineChart {
    LineChart {
        title,
        x_label: "i".into(),
        y_label: "paper time t".into(),
        series: vec![Series { name: String::new(), ..table.series("i", "t") }],
        ..LineChart::default()
    }
}

/// One row per t = 1..=T: c_t, what of d_t reaches t = 2 (0 at t = 1), their product tau_t, and the
/// reverse-gap coefficient r_t.
pub fn gap_table(schedule: &Schedule) -> Table {
    let times = 1..=schedule.timesteps();
    let carry = |t: usize| if t < 2 { 0.0 } else { gap::carry(schedule, 2, t) };
    Table::new()
        .whole("t", times.clone())
        .real("c", times.clone().map(|t| schedule.gap_coefficient(t)))
        .real("product", times.clone().map(carry))
        .real("tau", times.clone().map(|t| schedule.tau(t)))
        .real("r", times.map(|t| schedule.reverse_gap(t)))
}

/// The chart of the gap's weights.
pub fn gap_chart(title: String, table: &Table) -> LineChart {
    LineChart {
        title,
        x_label: "t".into(),
        y_label: "weight".into(),
        x_log: true,
        y_log: true,
        series: ["c", "product", "tau", "r"].map(|name| table.series("t", name)).into(),
    }
}

/// Theorem 2 of SA-DPM on normal residuals of `width` entries, for windows K = 1..=`windows`.
///
/// # Errors
///
/// [`Error::Argument`] when T < 2, or `windows` or `width` is out of range.
pub fn theorem2(
    schedule: &Schedule,
    mode: TauMode,
    windows: usize,
    width: usize,
    seed: u64,
) -> Result<Vec<Bounds>> {
    let last = schedule.timesteps();
    if last < 2 {
        return Err(Error::argument("timesteps", last, "at least 2 for a gap to add up"));
    }
    if !(1..=last).contains(&windows) {
        return Err(Error::argument("windows", windows, format!("K in 1..=T = {last}")));
    }
    if !(1..=4096).contains(&width) {
        return Err(Error::argument("width", width, "1..=4096"));
    }
    let address = Address::new(seed, Purpose::Measure);
    let row = |t: usize| {
        let mut row = vec![0f32; width];
        address.step(t as u32).fill_normal(&mut row);
        row.into_iter().map(f64::from).collect()
    };
    let residuals: Vec<Vec<f64>> = (2..=last).map(row).collect();
    let weights = gap::step_weights(schedule, mode);
    (1..=windows).map(|window| gap::theorem2(&weights, &residuals, window)).collect()
}
