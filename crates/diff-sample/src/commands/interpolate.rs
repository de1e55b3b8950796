use super::{
    Prepared, SampleArgs,
    decode::read,
    generate::make,
    output::{OutputArgs, Sheet},
};
use candle_core::{Device, Tensor};
use clap::Args;
use diff_core::Error;
use diff_sample::{drawn, latents};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct InterpolateArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// So many pictures on a line, its ends included, as one strip.
    #[arg(long, value_name = "N", required_unless_present = "grid")]
    line: Option<usize>,
    /// The sample that the line starts at.
    #[arg(long, value_name = "INDEX", requires = "line", requires = "to")]
    from: Option<u64>,
    /// The sample that it ends at.
    #[arg(long, value_name = "INDEX", requires = "line", requires = "from")]
    to: Option<u64>,
    /// N x N pictures between four samples instead.
    #[arg(long, value_name = "N", conflicts_with = "line")]
    grid: Option<usize>,
    /// Those samples: top left, bottom left, top right, bottom right.
    #[arg(long, value_name = "A,B,C,D", value_delimiter = ',', requires = "grid")]
    corners: Vec<u64>,
    /// A file that `encode` wrote: indices are those of its latents [default: latents of the seed].
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes pictures between others.
pub(crate) fn interpolate(args: &InterpolateArgs) -> anyhow::Result<()> {
    let (ends, columns) = args.ends()?;
    let prepared = args.sample.open(args.sample.one_number_of_steps()?)?.deterministic()?;
    let (values, origin) = args.between(&prepared, &ends)?;
    let count = values.dim(0)?;
    let prepared = prepared.making((0..count as u64).collect())?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["between"] = json!(ends);
    provenance["latents"] = origin;
    let request = &prepared.request;
    let starts = |indices: &[u64]| -> diff_sample::Result<Tensor> {
        let places: Vec<u32> = indices.iter().map(|i| *i as u32).collect();
        let rows = values.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?;
        Ok(rows.to_device(&request.device)?)
    };
    let sheet = Sheet { count, columns: Some(columns), ..Sheet::default() };
    make(&prepared, &starts, (&args.output, sheet), &provenance)
}

impl InterpolateArgs {
    /// The samples at the ends or corners, and the columns of the sheet.
    fn ends(&self) -> Result<(Vec<u64>, usize), Error> {
        if self.sample.num.is_some() || !self.sample.indices.is_empty() {
            let expected = "neither: --line and --grid say how many pictures there are";
            return Err(Error::argument("num or indices", "given", expected));
        }
        match (self.line, self.grid, self.from.zip(self.to)) {
            (Some(count), None, Some((from, to))) => Ok((vec![from, to], count)),
            (Some(_), ..) => {
                Err(Error::argument("from and to", "nothing", "two samples: --from I --to J"))
            }
            (None, Some(count), _) if self.corners.len() == 4 => Ok((self.corners.clone(), count)),
            _ => {
                let found = format!("{} samples", self.corners.len());
                Err(Error::argument("corners", found, "four: --corners A,B,C,D"))
            }
        }
    }

    /// The latents that pictures are made of, `[N, C, H, W]` on the CPU, and where the ends come from.
    fn between(&self, prepared: &Prepared, ends: &[u64]) -> anyhow::Result<(Tensor, Value)> {
        let request = &prepared.request;
        let (found, origin) = match &self.latents {
            None => (drawn(request, ends)?.to_device(&Device::Cpu)?, Value::Null),
            Some(path) => {
                let latents = read(path, &self.sample, prepared)?;
                let found = latents.rows(ends, request.dtype, &Device::Cpu)?;
                (found, latents.about.provenance)
            }
        };
        let corner = |i| found.get(i);
        let values = match (self.line, self.grid) {
            (Some(count), _) => latents::line(&corner(0)?, &corner(1)?, count)?,
            (None, count) => {
                let corners = [&corner(0)?, &corner(1)?, &corner(2)?, &corner(3)?];
                latents::grid(corners, count.unwrap_or_default())?
            }
        };
        Ok((values, origin))
    }
}
