//! `--profile-time`: where a token's time goes, as a table and for machines.

use std::fmt::Write as _;

use serde::Serialize;
use tern_runtime::{Activity, Times};
use tern_tune::{Stack, StackPart};

/// Where the time of a token went in one more repetition of a test.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TokenTime {
    /// Milliseconds of a token, with recording.
    pub ms_per_token: f64,
    /// Parallel regions of a token, each of which is a barrier.
    pub regions_per_token: f64,
    /// The share of all workers' time that the rows with a name account for: all but `other`.
    pub accounted: f64,
    /// The share of all workers' time that is spent waiting for each other.
    pub waiting: f64,
    /// The share that is spent building tables.
    pub tables: f64,
    /// What workers did, in the order of a layer.
    pub rows: Vec<TimeRow>,
}

/// One activity.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TimeRow {
    /// What is done.
    pub what: &'static str,
    /// Whether workers wait meanwhile.
    pub is_waiting: bool,
    /// Milliseconds of each worker for a token; the first is the calling thread.
    pub worker_ms: Vec<f64>,
    /// Share of all workers' time.
    pub share: f64,
}

impl TokenTime {
    /// What was recorded for `tokens` tokens.
    pub fn of(times: &Times, tokens: usize) -> TokenTime {
        let tokens = tokens as f64;
        let total = times.total.as_secs_f64() * 1e3 / tokens;
        let workers = times.workers();
        let row = |activity: Activity| {
            let ms = |worker| times.of(worker, activity).as_secs_f64() * 1e3 / tokens;
            let worker_ms: Vec<f64> = (0..workers).map(ms).collect();
            TimeRow {
                what: activity.name(),
                is_waiting: activity.is_waiting(),
                share: worker_ms.iter().sum::<f64>() / (total * workers as f64),
                worker_ms,
            }
        };
        let all: Vec<TimeRow> = Activity::ALL.into_iter().map(row).collect();
        let share = |of: &dyn Fn(&TimeRow) -> bool| {
            let rows = all.iter().filter(|row| of(row));
            rows.map(|row| row.share).sum()
        };
        TokenTime {
            ms_per_token: total,
            regions_per_token: times.regions as f64 / tokens,
            accounted: times.accounted(),
            waiting: share(&|row| row.is_waiting),
            tables: share(&|row| row.what == Activity::Tables.name()),
            rows: all.into_iter().filter(|row| row.share > 0.0).collect(),
        }
    }

    /// A table in Markdown.
    pub fn to_markdown(&self) -> String {
        let workers = self.rows.first().map_or(0, |row| row.worker_ms.len());
        let mut text = String::new();
        let mut line = |cells: &[String]| {
            let cells = cells.iter().enumerate().map(|(index, cell)| match index {
                0 => format!("{cell:<20}"),
                _ => format!("{cell:>11}"),
            });
            let cells: Vec<String> = cells.collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        let of_workers = (0..workers).map(|worker| format!("worker {worker}"));
        let head = ["a token's time".to_owned(), "share".to_owned()];
        let head: Vec<String> = head.into_iter().chain(of_workers).collect();
        line(&head);
        let rule = |index: usize| "-".repeat(if index == 0 { 20 } else { 11 });
        line(&(0..head.len()).map(rule).collect::<Vec<_>>());
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let mut sums = vec![0.0; workers];
        for row in &self.rows {
            let ms = row.worker_ms.iter().map(|ms| format!("{ms:.3} ms"));
            let cells = [row.what.to_owned(), percent(row.share)];
            line(&cells.into_iter().chain(ms).collect::<Vec<_>>());
            for (sum, ms) in sums.iter_mut().zip(&row.worker_ms) {
                *sum += ms;
            }
        }
        let share = sums.iter().sum::<f64>() / (self.ms_per_token * workers as f64);
        let ms = sums.iter().map(|ms| format!("{ms:.3} ms"));
        let cells = ["sum".to_owned(), percent(share)];
        line(&cells.into_iter().chain(ms).collect::<Vec<_>>());
        text
    }

    /// The table in a sentence.
    pub fn to_sentence(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        format!(
            "{:.2} ms a token, {} accounted for, {:.0} regions; barriers {}, table building {}",
            self.ms_per_token,
            percent(self.accounted),
            self.regions_per_token,
            percent(self.waiting),
            percent(self.tables),
        )
    }
}

/// The tables of several tests as one figure, with a bar for each worker of each.
pub(crate) fn figure(title: String, subtitle: String, tests: &[(String, &TokenTime)]) -> Stack {
    let workers = |time: &TokenTime| time.rows.first().map_or(0, |row| row.worker_ms.len());
    let bars = tests.iter().flat_map(|(name, time)| {
        let workers = workers(time);
        let names = (0..workers).map(move |worker| match workers {
            1 => name.clone(),
            _ => format!("{name}, worker {worker}"),
        });
        names.collect::<Vec<_>>()
    });
    let part = |activity: Activity| {
        let ms = tests.iter().flat_map(|(_, time)| {
            let row = time.rows.iter().find(|row| row.what == activity.name());
            row.map_or_else(|| vec![0.0; workers(time)], |row| row.worker_ms.clone())
        });
        StackPart {
            name: activity.name().to_owned(),
            ms: ms.collect(),
            is_idle: activity.is_waiting(),
        }
    };
    let parts = Activity::ALL.into_iter().map(part);
    Stack {
        title,
        subtitle,
        bars: bars.collect(),
        parts: parts
            .filter(|part| part.ms.iter().any(|&ms| ms > 0.0))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(workers: usize, what: Activity) -> TokenTime {
        TokenTime {
            rows: vec![TimeRow {
                what: what.name(),
                is_waiting: what.is_waiting(),
                worker_ms: vec![1.5; workers],
                share: 1.0,
            }],
            ms_per_token: 1.5,
            ..TokenTime::default()
        }
    }

    #[test]
    fn every_worker_of_every_test_has_a_bar() {
        let (one, two) = (time(1, Activity::Norm), time(2, Activity::Slowest));
        let tests = [("a".to_owned(), &one), ("b".to_owned(), &two)];
        let figure = figure("t".to_owned(), "s".to_owned(), &tests);
        assert_eq!(figure.bars, ["a", "b, worker 0", "b, worker 1"]);
        let parts: Vec<_> = figure.parts.iter().map(|part| &part.ms[..]).collect();
        assert_eq!(parts, [[1.5, 0.0, 0.0], [0.0, 1.5, 1.5]]);
        assert!(figure.parts[1].is_idle);
    }

    #[test]
    fn the_table_has_a_line_for_each_activity_and_a_sum() {
        let table = time(2, Activity::Norm).to_markdown();
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.contains("| sum "), "{table}");
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{table}");
    }
}
