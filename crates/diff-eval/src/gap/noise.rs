use diff_core::rng::{Address, Purpose};

/// Where the noise of a measurement comes from, picture by picture.
pub(crate) trait Noise {
    /// eps_t of the forward sample x_t of picture `picture`.
    fn forward(&self, picture: u64, t: usize, out: &mut [f64]);

    /// z of the sampler's step from t to t - 1.
    fn step(&self, picture: u64, t: usize, out: &mut [f64]);
}

/// Standard normal noise as a function of (seed, picture, t).
pub(crate) struct Addressed {
    pub(crate) seed: u64,
}

const FORWARD: u16 = 0;
const STEP: u16 = 1;

impl Addressed {
    fn fill(&self, picture: u64, t: usize, lane: u16, out: &mut [f64]) {
        let mut normals = vec![0f32; out.len()];
        let address = Address::new(self.seed, Purpose::Measure).index(picture).step(t as u32);
        address.lane(lane).fill_normal(&mut normals);
        out.iter_mut().zip(normals).for_each(|(out, z)| *out = f64::from(z));
    }
}

impl Noise for Addressed {
    fn forward(&self, picture: u64, t: usize, out: &mut [f64]) {
        self.fill(picture, t, FORWARD, out);
    }

    fn step(&self, picture: u64, t: usize, out: &mut [f64]) {
        self.fill(picture, t, STEP, out);
    }
}
