//! What may happen to an image on its way into a batch, as the words that a gather takes for it. All of it is done in whole
//! numbers, so that every device makes the same levels.

/// Words per image: mirrored or not; rows and columns by which it is moved; cosine and sine of the angle by which it is
/// turned; rows and columns of what is erased, then of what is cut out, each as `first | end << 16`.
pub const AUGMENTATION_WORDS: usize = 9;

/// Fractional bits of cosine and sine.
const TURN_BITS: u32 = 16;

/// Fractional bits of the weights between two pixels.
const WEIGHT_BITS: u32 = 8;

/// Rows and columns of a rectangle, each from the first to before the end.
pub type Rectangle = [[usize; 2]; 2];

/// What happens to a square image, in this order. What is turned or moved into it from outside is black; what is erased or
/// cut out becomes 0 once the image is normalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Cosine and sine of the angle by which it is turned around its centre, in units of 2⁻¹⁶.
    pub turn: [i32; 2],
    /// Pixels by which it is moved down and to the right.
    pub shift: [i32; 2],
    /// Whether it is mirrored left to right.
    pub mirror: bool,
    /// A rectangle that is erased; empty where none is.
    pub erased: Rectangle,
    /// Another one.
    pub cut: Rectangle,
}

impl Default for Change {
    fn default() -> Change {
        Change {
            turn: [1 << TURN_BITS, 0],
            shift: [0; 2],
            mirror: false,
            erased: [[0; 2]; 2],
            cut: [[0; 2]; 2],
        }
    }
}

impl Change {
    /// The same for an image that is turned by so many degrees clockwise.
    pub fn turned(self, degrees: f32) -> Change {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let turn = [cos, sin].map(|part| (part * (1 << TURN_BITS) as f32).round() as i32);
        Change { turn, ..self }
    }

    /// Its words.
    pub fn words(&self) -> [u32; AUGMENTATION_WORDS] {
        let packed = |[first, end]: [usize; 2]| first as u32 | (end as u32) << 16;
        let [[cos, sin], [down, right]] = [self.turn, self.shift];
        let [[above, left], [cut_above, cut_left]] = [self.erased, self.cut].map(|r| r.map(packed));
        let mirror = u32::from(self.mirror);
        let signed = [down, right, cos, sin].map(|word| word as u32);
        let [down, right, cos, sin] = signed;
        [
            mirror, down, right, cos, sin, above, left, cut_above, cut_left,
        ]
    }

    /// The change that these words say, [`AUGMENTATION_WORDS`] of them.
    pub fn of(words: &[u32]) -> Change {
        let signed = |at: usize| words[at] as i32;
        let packed = |at: usize| [words[at] & 0xffff, words[at] >> 16].map(|word| word as usize);
        Change {
            turn: [signed(3), signed(4)],
            shift: [signed(1), signed(2)],
            mirror: words[0] != 0,
            erased: [packed(5), packed(6)],
            cut: [packed(7), packed(8)],
        }
    }

    /// The level that a pixel `[row, column]` of a changed image of `size`×`size` pixels has; `None` where it is erased or
    /// cut out. `level` tells those of the image.
    pub fn level(
        &self,
        [y, x]: [usize; 2],
        size: usize,
        level: impl Fn(usize, usize) -> u8,
    ) -> Option<u8> {
        let within = |[rows, columns]: Rectangle| {
            (rows[0]..rows[1]).contains(&y) && (columns[0]..columns[1]).contains(&x)
        };
        if within(self.erased) || within(self.cut) {
            return None;
        }
        let size = size as i32;
        let mirrored = if self.mirror {
            size - 1 - x as i32
        } else {
            x as i32
        };
        let (y, x) = (y as i32 - self.shift[0], mirrored - self.shift[1]);
        let inside = |at: i32| (0..size).contains(&at);
        let known = |y: i32, x: i32| match inside(y) && inside(x) {
            true => i32::from(level(y as usize, x as usize)),
            false => 0,
        };
        let [cos, sin] = self.turn;
        if (sin == 0 && cos > 0) || !inside(y) || !inside(x) {
            return Some(known(y, x) as u8);
        }
        // Twice the distance from the centre, so that it is whole; then twice the place that is looked at.
        let (dy, dx) = (2 * y - (size - 1), 2 * x - (size - 1));
        let middle = (size - 1) << TURN_BITS;
        let (y, x) = (cos * dy - sin * dx + middle, sin * dy + cos * dx + middle);
        let floor = |at: i32| at >> (TURN_BITS + 1);
        let part = |at: i32| at >> (TURN_BITS + 1 - WEIGHT_BITS) & ((1 << WEIGHT_BITS) - 1);
        let ((top, down), (left, right)) = ((floor(y), part(y)), (floor(x), part(x)));
        let one = 1 << WEIGHT_BITS;
        let between = |y| (one - right) * known(y, left) + right * known(y, left + 1);
        let sum = (one - down) * between(top) + down * between(top + 1);
        Some(((sum + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 9;

    /// A picture whose levels tell their places.
    fn picture(y: usize, x: usize) -> u8 {
        (20 * y + x) as u8
    }

    fn changed(change: Change) -> Vec<Option<u8>> {
        let places = (0..SIZE * SIZE).map(|i| [i / SIZE, i % SIZE]);
        places.map(|at| change.level(at, SIZE, picture)).collect()
    }

    #[test]
    fn words_tell_the_change() {
        let change = Change {
            shift: [-3, 4],
            mirror: true,
            erased: [[1, 5], [0, 9]],
            cut: [[2, 3], [4, 4096]],
            ..Change::default().turned(-30.0)
        };
        assert_eq!(Change::of(&change.words()), change);
    }

    #[test]
    fn quarter_turns_move_pixels_to_pixels() {
        for (degrees, from) in [
            (
                90.0,
                (|y, x| (8 - x, y)) as fn(usize, usize) -> (usize, usize),
            ),
            (-90.0, |y, x| (x, 8 - y)),
            (180.0, |y, x| (8 - y, 8 - x)),
        ] {
            let got = changed(Change::default().turned(degrees));
            for (i, got) in got.into_iter().enumerate() {
                let (y, x) = from(i / SIZE, i % SIZE);
                assert_eq!(got, Some(picture(y, x)), "{degrees} {i}");
            }
        }
    }

    /// Against the definition in double precision; black comes in at the corners.
    #[test]
    fn other_turns_are_bilinear() {
        for degrees in [3.0_f64, -17.0, 41.0] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let got = changed(Change::default().turned(degrees as f32));
            for (i, got) in got.into_iter().enumerate() {
                let (dy, dx) = ((i / SIZE) as f64 - 4.0, (i % SIZE) as f64 - 4.0);
                let (y, x) = (cos * dy - sin * dx + 4.0, sin * dy + cos * dx + 4.0);
                let mut want = 0.0;
                for (py, px) in (0..SIZE * SIZE).map(|i| (i / SIZE, i % SIZE)) {
                    let weight = |at: f64, p: usize| (1.0 - (at - p as f64).abs()).max(0.0);
                    want += weight(y, py) * weight(x, px) * f64::from(picture(py, px));
                }
                let got = f64::from(got.unwrap());
                assert!((got - want).abs() < 1.3, "{degrees} {i}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn what_is_moved_is_then_mirrored_and_the_border_is_black() {
        let change = Change {
            shift: [2, -1],
            mirror: true,
            ..Change::default()
        };
        for (i, got) in changed(change).into_iter().enumerate() {
            let (y, x) = (i / SIZE, i % SIZE);
            // Mirrored back, then moved back.
            let (from_y, from_x) = (y as i32 - 2, (8 - x as i32) + 1);
            let want = match (0..9).contains(&from_y) && (0..9).contains(&from_x) {
                true => picture(from_y as usize, from_x as usize),
                false => 0,
            };
            assert_eq!(got, Some(want));
        }
    }

    #[test]
    fn rectangles_are_erased_from_what_is_seen() {
        let change = Change {
            mirror: true,
            erased: [[0, 2], [1, 4]],
            cut: [[8, 9], [0, 9]],
            ..Change::default()
        };
        let got = changed(change);
        let gone = |i: usize| {
            let (y, x) = (i / SIZE, i % SIZE);
            (y < 2 && (1..4).contains(&x)) || y == 8
        };
        assert!(
            got.iter()
                .enumerate()
                .all(|(i, level)| level.is_none() == gone(i))
        );
    }
}
