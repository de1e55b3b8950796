//! The embedded default: 1,797 handwritten digits of 8x8 (UCI Optical Recognition of Handwritten
//! Digits, test part; E. Alpaydin and C. Kaynak, 1998; CC BY 4.0).

use super::{Dataset, Split};
use crate::Result;
use std::io::Read;

const FILE: &[u8] = include_bytes!("../../assets/digits.csv.gz");
const SIDE: usize = 8;
/// Every fifth picture is held out (360 of 1,797). The file comes in series of 0 to 9 from one hand
/// after the other, so a cut at the end would hold out hands instead of pictures.
const HELD_OUT_EVERY: usize = 5;

pub(super) fn open(split: Split) -> Result<Dataset> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(FILE)
        .read_to_string(&mut text)
        .map_err(|e| Dataset::error("digits", e.to_string()))?;
    let mut set = Dataset {
        name: "digits".into(),
        shape: [1, SIDE, SIDE],
        classes: 10,
        pixels: Vec::new(),
        labels: Vec::new(),
        indices: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        let held_out = index % HELD_OUT_EVERY == 0;
        if held_out != (split == Split::Test) {
            continue;
        }
        let (pixels, label) = parse(line)
            .ok_or_else(|| Dataset::error("digits", format!("line {}: {line}", index + 1)))?;
        set.pixels.extend_from_slice(&pixels);
        set.labels.push(label);
        set.indices.push(index as u64);
    }
    Ok(set)
}

/// 64 values of 0..=16, then a label of 0..=9; grey levels are spread over 0..=255.
fn parse(line: &str) -> Option<([u8; SIDE * SIDE], u32)> {
    let mut values = line.split(',').map(|v| v.parse::<u32>().ok());
    let mut pixels = [0u8; SIDE * SIDE];
    for pixel in &mut pixels {
        let value = values.next()??;
        *pixel = (value <= 16).then_some((value * 255 + 8) / 16)? as u8;
    }
    let label = values.next()??;
    (label < 10 && values.next().is_none()).then_some((pixels, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_fixed_and_disjoint() {
        let (train, test) = (open(Split::Train).unwrap(), open(Split::Test).unwrap());
        assert_eq!((train.len(), test.len()), (1437, 360));
        let mut all: Vec<u64> = (0..train.len()).map(|i| train.index(i)).collect();
        all.extend((0..test.len()).map(|i| test.index(i)));
        all.sort_unstable();
        assert_eq!(all, (0..1797).collect::<Vec<_>>());
    }

    #[test]
    fn pictures_are_upright_and_spread_over_all_grey_levels() {
        // Line 1 of the file (index 0, held out) is a zero: dark centre, bright ring.
        let test = open(Split::Test).unwrap();
        assert_eq!((test.index(0), test.label(0)), (0, 0));
        let rows: Vec<&[u8]> = test.picture(0).chunks(SIDE).collect();
        assert_eq!(rows[0], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!(rows[7], [0, 0, 96, 207, 159, 0, 0, 0]);
        assert!((0..test.len()).any(|i| test.picture(i).contains(&255)));
    }

    #[test]
    fn bad_lines_are_refused() {
        assert!(parse("1,2,3").is_none());
        assert!(parse(&format!("17,{}1", "0,".repeat(63))).is_none());
        assert!(parse(&format!("{}10", "0,".repeat(64))).is_none());
        assert!(parse(&format!("{}9", "16,".repeat(64))).is_some());
    }
}
