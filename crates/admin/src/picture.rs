//! From whatever picture was uploaded to an avatar: 500 × 500 pixels, written anew.
//!
//! Nothing of the upload is passed on but pixels: no metadata, nothing hidden behind the picture. How much is decoded is
//! limited before it is, by the bytes given and the pixels that the head announces.

use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder as _, ImageEncoder as _, ImageReader, Limits, imageops};
use std::io::Cursor;

/// The side of an avatar in pixels.
pub const SIDE: u32 = 500;
/// Memory for decoding one pixel: four channels, and the decoder's own copies.
const BYTES_A_PIXEL: u64 = 16;

/// Why there is no avatar of it.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It is no picture of a known format, or a broken one.
    #[error("this is no PNG, JPEG or WebP picture that can be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has too many pixels.
    #[error("the picture has {found} pixels, but at most {limit} are read")]
    TooLarge {
        /// Width × height.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> PictureError {
    PictureError::Unreadable(Box::new(error))
}

/// Crops the middle out of a picture and makes it 500 × 500, as PNG. Takes a processor for up to a second.
///
/// # Errors
/// It is no picture, or one with more than `max_pixels`.
pub fn avatar(bytes: &[u8], max_pixels: u64) -> Result<Vec<u8>, PictureError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(unreadable)?;
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    let found = u64::from(width) * u64::from(height);
    if found == 0 || found > max_pixels {
        return Err(PictureError::TooLarge { found, limit: max_pixels });
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(BYTES_A_PIXEL));
    decoder.set_limits(limits).map_err(unreadable)?;
    let orientation = decoder.orientation().map_err(unreadable)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    // The side that is kept is the same whichever way the picture is turned.
    let side = width.min(height);
    picture = picture.crop_imm((width - side) / 2, (height - side) / 2, side, side);
    picture.apply_orientation(orientation);
    let small = imageops::resize(&picture.into_rgba8(), SIDE, SIDE, FilterType::CatmullRom);
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(&small, SIDE, SIDE, image::ExtendedColorType::Rgba8)
        .map_err(unreadable)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgba, RgbaImage};

    /// Red on the left, green in the middle, blue on the right.
    fn flag(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let third = |x: u32| match 3 * x / width {
            0 => Rgba([255, 0, 0, 255]),
            1 => Rgba([0, 255, 0, 255]),
            _ => Rgba([0, 0, 255, 255]),
        };
        let picture = DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, |x, _| third(x)));
        let picture = if format == ImageFormat::Jpeg {
            DynamicImage::ImageRgb8(picture.into_rgb8())
        } else {
            picture
        };
        let mut out = Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn any_size_and_format_becomes_500_by_500_of_the_middle() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            for (width, height) in [(1, 1), (90, 30), (1_200, 400), (40, 900), (500, 500)] {
                let made = avatar(&flag(width, height, format), 10_000_000).unwrap();
                let read = image::load_from_memory_with_format(&made, ImageFormat::Png).unwrap();
                assert_eq!((read.width(), read.height()), (SIDE, SIDE), "{format:?} {width}×{height}");
                if width == 3 * height {
                    let middle = read.to_rgba8().get_pixel(250, 250).0;
                    let corner = read.to_rgba8().get_pixel(20, 480).0;
                    assert!(middle[1] > 200 && middle[0] < 60 && corner[1] > 200, "{middle:?} {corner:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_pixels_is_not_passed_on() {
        let mut upload = flag(90, 30, ImageFormat::Png);
        upload.extend_from_slice(b"<script>alert(1)</script>");
        let made = avatar(&upload, 10_000).unwrap();
        assert!(!made.windows(7).any(|part| part == b"<script"));
    }

    #[test]
    fn what_is_too_large_or_no_picture_is_refused() {
        let upload = flag(90, 30, ImageFormat::Png);
        assert!(matches!(
            avatar(&upload, 2_699),
            Err(PictureError::TooLarge {
                found: 2_700,
                limit: 2_699
            })
        ));
        for broken in [&b""[..], b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a", &upload[..60]] {
            assert!(matches!(avatar(broken, 10_000), Err(PictureError::Unreadable(_))), "{broken:?}");
        }
        // A head that announces more than there is.
        let mut bomb = upload;
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        assert!(avatar(&bomb, 25_000_000).is_err());
    }
}
