//! Those who keep the files in a run's folder, in the order in which they are told.
use super::curves::Curves;
use super::events::Events;
use super::lines::Origin;
use super::matrix::Matrix;
use super::metrics::Metrics;
use super::page::Page;
use super::tensorboard::TensorBoard;
use crate::data::ImageSource;
use crate::train::Observer;
use std::sync::Arc;

/// All of them, for a run on these images.
pub fn keepers(origin: Origin, data: Arc<dyn ImageSource>) -> Vec<Box<dyn Observer>> {
    let classes = &data.info().classes;
    vec![
        Box::new(Events::new(origin)),
        Box::new(Metrics),
        Box::new(Curves),
        Box::new(Matrix::new(classes.clone())),
        Box::new(TensorBoard::new(classes.clone())),
        Box::new(Page::new(data)),
    ]
}
