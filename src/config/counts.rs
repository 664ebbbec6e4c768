//! Several whole numbers as one setting, such as `2,2,2,2`.
use super::range::COUNT;
use crate::model::zoo::listed;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How the help shows such a value. A file may write it as an array too.
pub const SHAPE: &str = "N,N,…";

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
        let numbers = text.split(',').map(|number| COUNT.parser()(number.trim()));
        let numbers = numbers.collect::<Result<Vec<usize>, String>>();
        let numbers = numbers.map_err(|why| match why.contains("whole number") {
            true => anyhow!("must be whole numbers with commas between, such as 2,2,2,2"),
            false => anyhow!("each {why}"),
        })?;
        Ok(Counts(numbers))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&listed(&self.0))
    }
}
