//! The part of every picture that is kept before anything else.

use super::Pixels;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A part of the pictures: in a configuration the word `celeba`, or `[top, left, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// Rows 57 to 184 and columns 25 to 152 of CelebA's aligned pictures, which are 218 high and
    /// 178 wide: 128x128 around row 121 and column 89, as the peers crop them.
    Celeba,
    /// Any rectangle.
    Rectangle {
        /// The first row.
        top: usize,
        /// The first column.
        left: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// Height and width of CelebA's aligned pictures.
const ALIGNED: (usize, usize) = (218, 178);

impl Crop {
    /// First row, first column, rows, columns.
    fn rectangle(self) -> [usize; 4] {
        match self {
            Crop::Celeba => [57, 25, 128, 128],
            Crop::Rectangle { top, left, height, width } => [top, left, height, width],
        }
    }

    pub(super) fn apply(self, picture: &Pixels) -> Result<Pixels, String> {
        let size = (picture.height, picture.width);
        let is = || format!("the picture is {} high and {} wide", size.0, size.1);
        if self == Crop::Celeba && size != ALIGNED {
            let (height, width) = ALIGNED;
            return Err(format!(
                "crop = celeba is for aligned pictures of {height} by {width}; {}",
                is()
            ));
        }
        let [top, left, height, width] = self.rectangle();
        let inside =
            |start: usize, length, end| start.checked_add(length).is_some_and(|e| e <= end);
        if !inside(top, height, size.0) || !inside(left, width, size.1) {
            return Err(format!("crop = {self} reaches outside; {}", is()));
        }
        Ok(cut(picture, [top, left, height, width]))
    }
}

/// A rectangle that lies inside the picture.
pub(super) fn cut(picture: &Pixels, [top, left, height, width]: [usize; 4]) -> Pixels {
    let c = picture.channels;
    let rows = picture.bytes.chunks_exact(picture.width * c).skip(top).take(height);
    let bytes = rows.flat_map(|row| &row[left * c..(left + width) * c]).copied().collect();
    Pixels { height, width, channels: c, bytes }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crop::Celeba => f.write_str("celeba"),
            rectangle => write!(f, "{:?}", rectangle.rectangle()),
        }
    }
}

impl Serialize for Crop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Crop::Celeba => serializer.serialize_str("celeba"),
            rectangle => rectangle.rectangle().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Crop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> de::Visitor<'de> for Words {
    type Value = Crop;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`celeba` or [top, left, height, width]")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Crop, E> {
        match word {
            "celeba" => Ok(Crop::Celeba),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Crop, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = seq.next_element::<usize>()? {
            numbers.push(number);
        }
        match numbers[..] {
            [top, left, height, width] => Ok(Crop::Rectangle { top, left, height, width }),
            _ => Err(de::Error::invalid_length(numbers.len(), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Crop, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_word_or_four_numbers_are_read_and_written() {
        let rectangle = Crop::Rectangle { top: 1, left: 2, height: 3, width: 4 };
        for (text, crop) in [("\"celeba\"", Crop::Celeba), ("[1,2,3,4]", rectangle)] {
            assert_eq!(parse(text).unwrap(), crop);
            assert_eq!(serde_json::to_string(&crop).unwrap(), text);
        }
        for bad in ["\"celebb\"", "[1,2,3]", "[1,2,3,4,5]", "7"] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("`celeba` or [top, left, height, width]"), "{error}");
        }
        assert!(parse("[1,2,3,-4]").is_err());
    }

    #[test]
    fn a_rectangle_is_cut_and_must_lie_inside() {
        let picture = Pixels { height: 3, width: 4, channels: 1, bytes: (0..12).collect() };
        let crop = |top, left, height, width| Crop::Rectangle { top, left, height, width };
        assert_eq!(crop(1, 2, 2, 2).apply(&picture).unwrap().bytes, [6, 7, 10, 11]);
        for outside in [crop(2, 0, 2, 1), crop(0, 4, 1, 1), crop(usize::MAX, 0, 1, 1)] {
            let error = outside.apply(&picture).unwrap_err();
            assert!(error.contains("3 high and 4 wide"), "{error}");
        }
        let error = Crop::Celeba.apply(&picture).unwrap_err();
        assert!(error.contains("218 by 178") && error.contains("3 high and 4 wide"), "{error}");
    }
}
