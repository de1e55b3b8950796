//! A source read once, picture by picture: nothing is stored, and pictures may differ in size.

use super::{
    DataConfig, Fault, Kind, Pixels, Preparation, Prepared, Raw, Report, Source, content,
    pass::{self, Items},
    sources,
};
use crate::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// The pictures that a configuration names, to be read in their order.
pub struct Stream {
    source: Box<dyn Source>,
    config: DataConfig,
    preparation: Preparation,
}

/// A picture on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Its place among those the configuration keeps, counted from 0; pictures that are left out have
    /// one too.
    pub place: u64,
    /// The picture.
    pub pixels: Pixels,
}

/// A picture that was decoded, or what is wrong with it.
struct Ready {
    name: String,
    outcome: Result<(Prepared, Kind), (Fault, String)>,
}

/// Pictures in flight, of which twice as many are held.
const CHUNK: usize = 32;

impl Stream {
    /// The pictures of a configuration. Nothing is decoded yet.
    ///
    /// # Errors
    /// When a value is out of range, or the source is unknown or does not open.
    pub fn open(config: &DataConfig) -> Result<Self> {
        config.check()?;
        let (source, preparation) = (sources::open(config)?, config.preparation());
        Ok(Stream { source, config: config.clone(), preparation })
    }

    /// The source's name.
    pub fn name(&self) -> String {
        self.source.name()
    }

    /// How many places there are, where that is known before reading.
    pub fn places(&self) -> Option<u64> {
        let count = self.source.count()?;
        if self.config.range.is_none() && self.config.held_out == 0 {
            return Some(count);
        }
        // Of a part of a source the numbers of its items may have gaps.
        let items = self.source.items().ok()?.filter_map(|item| item.ok());
        Some(items.filter(|item| self.config.keeps(item.index)).count() as u64)
    }

    /// SHA-256 of what the source holds before decoding, and of what is to become of it: whatever
    /// changes a picture changes it. In lower-case hexadecimal.
    ///
    /// # Errors
    /// When the source does not read.
    pub fn content_sha256(&self) -> Result<String> {
        let mut items = self.source.items()?;
        let mut hasher = Sha256::new().chain_update(self.preparation.describe());
        loop {
            let chunk = pass::read(&self.config, &mut items, CHUNK)?;
            if chunk.is_empty() {
                return Ok(content::hex(hasher));
            }
            let hashes: Vec<_> = chunk.par_iter().map(|item| raw_sha256(&item.raw)).collect();
            hashes.iter().for_each(|hash| hasher.update(hash));
        }
    }

    /// Hands all pictures to `keep`, in order, some at a time; while it works the next ones are read and
    /// decoded.
    ///
    /// # Errors
    /// When the source does not read, no picture is left, or one is bad and that is refused; and those
    /// of `keep`.
    pub fn run<E: From<Error> + Send>(
        &self,
        keep: &mut (dyn FnMut(Vec<Streamed>) -> Result<(), E> + Send),
    ) -> Result<Report, E> {
        let mut items = self.source.items()?;
        let mut report = Report { ignored: self.source.ignored(), ..Report::default() };
        let (mut place, mut kept) = (0, 0);
        let (config, how) = (&self.config, &self.preparation);
        let mut ready = next(config, how, &mut items)?;
        while !ready.is_empty() {
            let pictures = self.kept(ready, &mut place, &mut report)?;
            kept += pictures.len();
            let (done, following) =
                rayon::join(|| keep(pictures), || next(config, how, &mut items));
            done?;
            ready = following?;
        }
        match kept {
            0 => Err(pass::nothing_left(&self.name(), &self.config, place, &report).into()),
            _ => Ok(report),
        }
    }

    /// Those that are not left out.
    fn kept(
        &self,
        ready: Vec<Ready>,
        place: &mut u64,
        report: &mut Report,
    ) -> Result<Vec<Streamed>> {
        let mut pictures = Vec::with_capacity(ready.len());
        for Ready { name, outcome } in ready {
            match outcome {
                Ok((Prepared { pixels, enlarged }, kind)) => {
                    if kind != Kind::Plain {
                        report.add_decided(kind);
                    }
                    if enlarged {
                        report.add_decided("enlarged");
                    }
                    pictures.push(Streamed { place: *place, pixels });
                }
                Err((fault, reason)) => {
                    report.add_bad(&name, fault, &reason);
                    pass::accept(&self.name(), &self.config, report)?;
                }
            }
            *place += 1;
        }
        Ok(pictures)
    }
}

/// The next pictures, decoded; none at the end.
fn next(config: &DataConfig, how: &Preparation, items: &mut Items) -> Result<Vec<Ready>> {
    let chunk = pass::read(config, items, CHUNK)?;
    let ready = chunk
        .into_par_iter()
        .map(|item| Ready { outcome: pass::prepared(how, &item.raw), name: item.name });
    Ok(ready.collect())
}

/// SHA-256 of a picture as its source has it. What cannot be read is known by that.
fn raw_sha256(raw: &Raw) -> [u8; 32] {
    let hash = |kind: &[u8], bytes: &[u8]| Sha256::new().chain_update(kind).chain_update(bytes);
    let file = |path| match pass::read_file(path) {
        Ok(bytes) => hash(b"file", &bytes),
        Err((fault, _)) => hash(b"unreadable", fault.to_string().as_bytes()),
    };
    let hasher = match raw {
        Raw::File(path) => file(path),
        Raw::Encoded(bytes) => hash(b"file", bytes),
        Raw::Pixels(Pixels { height, width, channels, bytes }) => {
            hash(format!("pixels {height} {width} {channels}").as_bytes(), bytes)
        }
        Raw::Unreadable(reason) => hash(b"unreadable", reason.as_bytes()),
    };
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Bad, Split, open};
    use std::{fs, path::Path};

    fn config(folder: &Path) -> DataConfig {
        DataConfig { source: folder.to_string_lossy().into_owned(), ..DataConfig::default() }
    }

    /// Pictures of three sizes, a grey one, and bad ones.
    fn mixed(folder: &Path) {
        for i in 0..70u8 {
            let picture =
                image::RgbImage::from_pixel(2 + u32::from(i % 3), 4, image::Rgb([i, 1, 2]));
            picture.save(folder.join(format!("{i:03}.png"))).unwrap();
        }
        image::GrayImage::new(3, 3).save(folder.join("070.png")).unwrap();
        fs::write(folder.join("010b.png"), b"").unwrap();
        let half = fs::read(folder.join("020.png")).unwrap();
        fs::write(folder.join("020b.png"), &half[..half.len() / 2]).unwrap();
        fs::write(folder.join("notes.txt"), b"no picture").unwrap();
    }

    fn all(stream: &Stream) -> (Vec<Streamed>, Report) {
        let mut pictures = Vec::new();
        let report = stream.run(&mut |some| {
            pictures.extend(some);
            Result::<()>::Ok(())
        });
        (pictures, report.unwrap())
    }

    #[test]
    fn pictures_come_in_order_whatever_their_size_and_what_is_left_out_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        mixed(dir.path());
        let stream = Stream::open(&config(dir.path())).unwrap();
        let (pictures, report) = all(&stream);
        assert_eq!((pictures.len(), stream.places()), (71, Some(73)));
        // 000.png .. 010.png, the empty one, 011.png ..
        let places: Vec<u64> = pictures.iter().map(|p| p.place).collect();
        let expected: Vec<u64> = (0..73).filter(|place| ![11, 22].contains(place)).collect();
        assert_eq!(places, expected);
        for (i, picture) in pictures[..70].iter().enumerate() {
            let Pixels { height, width, channels, bytes } = &picture.pixels;
            assert_eq!((*height, *width, *channels, bytes[0]), (4, 2 + i % 3, 3, i as u8));
        }
        assert_eq!((report.bad[&Fault::Empty], report.bad[&Fault::Truncated]), (1, 1));
        assert_eq!((report.left_out(), report.ignored, report.decided["grey"]), (2, 1, 1));
        let refuse = DataConfig { bad: Bad::Refuse, ..config(dir.path()) };
        let error = Stream::open(&refuse).unwrap().run(&mut |_| Result::<()>::Ok(()));
        assert!(error.unwrap_err().to_string().contains("010b.png is empty"));
    }

    #[test]
    fn a_stream_is_the_data_set_without_a_store() {
        let test = DataConfig { split: Split::Test, range: Some([3, 90]), ..DataConfig::default() };
        let (stream, data) = (Stream::open(&test).unwrap(), open(&test).unwrap());
        let (pictures, _) = all(&stream);
        assert_eq!((pictures.len(), stream.places()), (data.len(), Some(17)));
        let same =
            |(i, p): (usize, &Streamed)| p.place == i as u64 && p.pixels.bytes == data.picture(i);
        assert!(pictures.iter().enumerate().all(same));
    }

    #[test]
    fn the_content_hash_knows_every_byte_and_every_preparation() {
        let dir = tempfile::tempdir().unwrap();
        mixed(dir.path());
        let hash = |config: &DataConfig| Stream::open(config).unwrap().content_sha256().unwrap();
        let first = hash(&config(dir.path()));
        assert_eq!((first.len(), &first), (64, &hash(&config(dir.path()))));
        let small = DataConfig { resolution: Some(2), ..config(dir.path()) };
        assert_ne!(first, hash(&small));
        image::RgbImage::from_pixel(2, 4, image::Rgb([9, 9, 9]))
            .save(dir.path().join("000.png"))
            .unwrap();
        assert_ne!(first, hash(&config(dir.path())));
    }

    #[test]
    fn an_error_of_the_receiver_ends_the_stream_and_nothing_is_no_stream() {
        let stream = Stream::open(&DataConfig::default()).unwrap();
        let mut calls = 0;
        let error = stream.run(&mut |_| {
            calls += 1;
            Err(diff_core::Error::argument("a", 1, "another").into())
        });
        assert!(error.map_err(|e: Error| e.to_string()).unwrap_err().contains("another"));
        assert_eq!(calls, 1);
        let none = DataConfig { range: Some([5000, 6000]), ..DataConfig::default() };
        let error = Stream::open(&none).unwrap().run(&mut |_| Result::<()>::Ok(()));
        assert!(error.unwrap_err().to_string().contains("no pictures"));
    }
}
