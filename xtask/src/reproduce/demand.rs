//! Which finished cells have to be there with all their files.
//!
//! A result outlives the weights and arrays it came from: they may be removed to save room, or left
//! behind when cells are brought over from another machine. They are missed only where a cell that is
//! still to be run starts from them.

use super::{
    cell::{self, Bench, Finished, Outcome},
    plan::Cell,
};
use anyhow::Result;

/// For every cell, whether a result without its bulky files will not do.
///
/// # Errors
/// When the folder of the cells does not read.
pub(super) fn whole(cells: &[Cell], wanted: &[bool], bench: &Bench) -> Result<Vec<bool>> {
    let known = cells.iter().try_fold(Vec::new(), |mut known, cell| -> Result<_> {
        known.push(look(cell, &known, bench)?);
        Ok(known)
    })?;
    let mut whole = vec![bench.force; cells.len()];
    // Inputs stand before their cells.
    for (i, cell) in cells.iter().enumerate().rev() {
        let runs = match &known[i] {
            None => true,
            Some(done) => whole[i] && !done.whole,
        };
        if wanted[i] && runs {
            cell.inputs.iter().for_each(|input| whole[*input] = true);
        }
    }
    Ok(whole)
}

/// The result of a cell, if those of its inputs are known and it is too.
fn look(cell: &Cell, known: &[Option<Finished>], bench: &Bench) -> Result<Option<Finished>> {
    let inputs: Option<Vec<Finished>> = cell.inputs.iter().map(|i| known[*i].clone()).collect();
    let Some(inputs) = inputs else { return Ok(None) };
    Ok(match cell::find(cell, &inputs, bench)? {
        Outcome::Done(done) => Some(*done),
        Outcome::Failed(_) | Outcome::Skipped(_) | Outcome::Absent => None,
    })
}
