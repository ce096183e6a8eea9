//! Tables for the terminal: columns as wide as their widest cell, numbers to the right.

use anstyle::Style;

use crate::output::{BOLD, paint};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<(Style, Vec<String>)>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled_row(Style::new(), cells);
    }

    /// Adds a row in a style.
    pub fn styled_row(&mut self, style: Style, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push((style, cells));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|(_, cells)| cells[column].as_str());
            let cells = cells.chain([self.columns[column].0]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).zip(&self.columns);
            let padded = padded.map(|((cell, &width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            line.trim_end().to_owned()
        };
        let head: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        writeln!(f, "{}", paint(BOLD, line(&head)))?;
        for (style, cells) in &self.rows {
            writeln!(f, "{}", paint(*style, line(cells)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("shape", Align::Left), ("us", Align::Right)]);
        table.row(["64x64".to_owned(), "1.5".to_owned()]);
        table.row(["6912x2560".to_owned(), "101.25".to_owned()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        let expected = "shape          us\n64x64         1.5\n6912x2560  101.25\n";
        assert_eq!(text, expected);
    }
}
