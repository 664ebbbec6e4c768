//! Tables as text.
use crate::process::one_line;

/// Rows with their cells under each other: the first column begins at the left, the others as `right` says of each.
pub fn columns(rows: &[Vec<String>], right: &[bool]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(one_line).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let wide = |text: &String| text.chars().count();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(wide).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, &width))| {
            match right.get(column).copied().unwrap_or(false) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            }
        });
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
