//! The files of `shaders/`, which are part of the program.
use std::fmt;
use std::hash::{Hash, Hasher};

/// A file of `shaders/`.
#[derive(Clone, Copy)]
pub struct Wgsl {
    /// Its path there, without the ending.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

/// The file `shaders/NAME.wgsl` as a [`Wgsl`].
macro_rules! wgsl {
    ($name:literal) => {
        crate::ops::Wgsl {
            name: $name,
            source: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
        }
    };
}
pub(super) use wgsl;

impl PartialEq for Wgsl {
    fn eq(&self, other: &Wgsl) -> bool {
        self.name == other.name
    }
}

impl Eq for Wgsl {}

impl Hash for Wgsl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Wgsl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}
