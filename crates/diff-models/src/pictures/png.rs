use crate::{Error, Result};
use std::{io::Write, path::Path};

/// Encodes one picture of 1 or 3 channels, row-major [h, w, c], with a text note inside; `path` is
/// what errors name.
///
/// # Errors
/// When there are other than 1 or 3 channels, or writing fails.
pub fn encode(
    out: &mut impl Write,
    path: &Path,
    [h, w, c]: [usize; 3],
    bytes: &[u8],
    note: Option<&str>,
) -> Result<()> {
    let color = match c {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => {
            let expected = "1 or 3 channels for PNG; write .npz instead";
            return Err(diff_core::Error::argument("channels", c, expected).into());
        }
    };
    let mut encoder = png::Encoder::new(out, w as u32, h as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let encoded = (|| {
        if let Some(note) = note {
            encoder.add_itxt_chunk("diff".into(), note.into())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(bytes)?;
        writer.finish()
    })();
    encoded.map_err(|e: png::EncodingError| -> Error {
        diff_core::save::io_error(path, "encode PNG")(std::io::Error::other(e)).into()
    })
}
