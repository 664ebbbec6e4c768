//! How an image becomes the input of a network. A checkpoint says it, so that training, evaluation and prediction
//! treat images alike.
use serde::{Deserialize, Serialize};

/// Images are resized to a square as PIL's bilinear filter does, and their grey levels divided by 255.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square in pixels.
    pub size: usize,
}
