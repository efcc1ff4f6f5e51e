//! The report: medians, and how they compare with haproxy's.

use crate::{
    load::Workload,
    proxies::{Build, Subject, Variant},
    stage::{Sample, Stage},
};
use anyhow::Result;
use std::fmt;

/// All measurements.
pub struct Report {
    rows: Vec<Row>,
    /// Written and dropped, by those that write.
    documents: Vec<(Subject, (u64, u64))>,
}

struct Row {
    subject: Subject,
    /// By the workload's place in [`Workload::ALL`].
    samples: [Vec<Sample>; Workload::ALL.len()],
    peak_rss: Option<u64>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(subjects: &[Subject]) -> Self {
        let row = |subject: &Subject| Row {
            subject: *subject,
            samples: Default::default(),
            peak_rss: None,
        };
        Self {
            rows: subjects.iter().map(row).collect(),
            documents: Vec::new(),
        }
    }

    /// Adds a measurement of the subject with this number.
    pub fn add(&mut self, index: usize, workload: Workload, sample: Sample) {
        self.rows[index].samples[workload as usize].push(sample);
    }

    /// Takes what is known only at the end.
    pub fn finish(&mut self, stage: &mut Stage) -> Result<()> {
        for (index, row) in self.rows.iter_mut().enumerate() {
            if let Some(pod) = stage.pod(index) {
                row.peak_rss = pod.peak_rss()?;
                let documents = pod.documents()?;
                self.documents
                    .extend(documents.map(|documents| (row.subject, documents)));
            }
        }
        Ok(())
    }

    fn cpu_of(&self, subject: Subject, workload: Workload) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.subject == subject)?;
        row.median(workload, |sample| sample.cpu)
    }
}

impl Row {
    fn median(&self, workload: Workload, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.samples[workload as usize].iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (
            values.get((values.len().max(1) - 1) / 2)?,
            values.get(values.len() / 2)?,
        );
        Some((low + high) / 2.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for workload in Workload::ALL {
            let rounds = self
                .rows
                .iter()
                .map(|row| row.samples[workload as usize].len())
                .max();
            writeln!(f, "\n{} (medians of {})", workload.name(), rounds.unwrap_or(0))?;
            writeln!(
                f,
                "  {:<37}{:>13}{:>12}{:>13}{:>12}{:>12}{:>10}{:>10}{:>8}{:>9}",
                "",
                "CPU µs/req",
                "to haproxy",
                "to baseline",
                "machine µs",
                "requests/s",
                "p50 ms",
                "p99 ms",
                "errors",
                "RSS MB"
            )?;
            for row in &self.rows {
                self.line(f, row, workload)?;
            }
        }
        for (subject, (queued, dropped)) in &self.documents {
            writeln!(
                f,
                "\n{subject}: {queued} documents for the file; {dropped} more were dropped and counted"
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn line(&self, f: &mut fmt::Formatter<'_>, row: &Row, workload: Workload) -> fmt::Result {
        write!(f, "  {:<37}", row.subject)?;
        let median = |value: fn(&Sample) -> f64| row.median(workload, value);
        let Some(rate) = median(|sample| sample.outcome.rate) else {
            return writeln!(f, "{:>13}", "not installed");
        };
        let dash = |value: Option<f64>, decimals: usize| match value {
            Some(value) => format!("{value:.decimals$}"),
            None => "-".into(),
        };
        let Subject { variant, build } = row.subject;
        let cpu = median(|sample| sample.cpu).filter(|_| variant != Variant::Direct);
        let ratio_to = |variant, build| {
            let other = self.cpu_of(Subject { variant, build }, workload);
            cpu.zip(other).map(|(cpu, other)| cpu / other)
        };
        let to_baseline = (build == Build::This).then(|| ratio_to(variant, Build::Baseline));
        let milliseconds = |value: Option<f64>| dash(value.map(|us| us / 1e3), 2);
        let errors: u64 = row.samples[workload as usize]
            .iter()
            .map(|sample| sample.outcome.errors)
            .sum();
        writeln!(
            f,
            "{:>13}{:>12}{:>13}{:>12}{:>12.0}{:>10}{:>10}{:>8}{:>9}",
            dash(cpu, 1),
            dash(ratio_to(Variant::Haproxy, Build::This), 2),
            dash(to_baseline.flatten(), 2),
            dash(median(|sample| sample.machine), 1),
            rate,
            milliseconds(median(|sample| sample.outcome.p50)),
            milliseconds(median(|sample| sample.outcome.p99)),
            errors,
            dash(row.peak_rss.map(|bytes| bytes as f64 / 1e6), 0),
        )
    }
}
