//! Whether a JPEG file is whole. Its decoder fills what is missing with grey and says nothing.

/// Whether the picture has its end. Of what is no JPEG file at all, the decoder says what is wrong.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments up to the end of the picture; one may hold a whole smaller picture.
    while let Some(&[first, marker]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) {
        // Entropy-coded data, in which 0 follows 0xff, or a restart marker does.
        if first != 0xff || matches!(marker, 0 | 0xd0..=0xd7 | 0xff) {
            at += 1;
            continue;
        }
        if marker == 0xd9 {
            return true;
        }
        let length = match bytes.get(at + 2..at + 4) {
            Some(length) if marker != 0x01 => {
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            _ => 0,
        };
        at += 2 + length;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat};
    use std::io::Cursor;

    #[test]
    fn no_beginning_of_a_jpeg_file_is_whole() {
        let picture = GrayImage::from_fn(40, 30, |x, y| image::Luma([(x * y) as u8]));
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, ImageFormat::Jpeg).unwrap();
        let file = file.into_inner();
        assert!(is_whole(&file));
        assert!(is_whole(&[&file[..], b"what cameras append"].concat()));
        for end in 0..file.len() {
            assert!(!is_whole(&file[..end]), "{end} bytes");
        }
        // A smaller picture within is not the end.
        let mut nested = file[..2].to_vec();
        nested.extend([0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9]);
        nested.extend(&file[2..]);
        assert!(is_whole(&nested));
        assert!(!is_whole(&nested[..nested.len() - 1]));
    }
}
