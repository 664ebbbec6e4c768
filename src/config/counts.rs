//! Several whole numbers as one setting, such as `2,2,2,2`.
use super::range::{BLOCKS, COUNT, EPOCHS};
use crate::model::zoo::listed;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How the help shows such a value. A file may write it as an array too.
pub const SHAPE: &str = "N,N,…";

/// How the help shows names of layers, which a file may write as an array too.
pub const LAYERS: &str = "LAYERS";

/// Numbers from 1 on, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Counts(Vec<usize>);

impl Counts {
    /// The numbers.
    pub fn numbers(self) -> Vec<usize> {
        self.0
    }
}

impl From<Vec<usize>> for Counts {
    fn from(numbers: Vec<usize>) -> Counts {
        Counts(numbers)
    }
}

impl FromStr for Counts {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Counts> {
        parse(text, COUNT.parser()).map_err(|why| anyhow!(why))
    }
}

/// Numbers of blocks.
pub fn blocks(text: &str) -> Result<Counts, String> {
    parse(text, BLOCKS.parser())
}

/// Numbers of epochs.
pub fn epochs(text: &str) -> Result<Counts, String> {
    parse(text, EPOCHS.parser())
}

fn parse(text: &str, number: impl Fn(&str) -> Result<usize, String>) -> Result<Counts, String> {
    let numbers = text.split(',').map(|text| number(text.trim()));
    let numbers = numbers.collect::<Result<Vec<usize>, String>>();
    let numbers = numbers.map_err(|why| match why.contains("whole number") {
        true => "must be whole numbers with commas between, such as 2,2,2,2".to_string(),
        false => format!("each {why}"),
    })?;
    Ok(Counts(numbers))
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&listed(&self.0))
    }
}
