//! The layout of 8-bit matrices in a quantised file: the names of their tensors, and the rounding of their rows.

/// Returns the name of the tensor with the scales of the matrix `name`.
pub(crate) fn scales_name(name: &str) -> String {
    format!("{name}.scale")
}

/// Returns the name of the tensor with the outliers of the matrix `name`.
pub(crate) fn outliers_name(name: &str) -> String {
    format!("{name}.outliers")
}

/// Returns the name of the tensor with the places of the outliers of the matrix `name`.
pub(crate) fn places_name(name: &str) -> String {
    format!("{name}.places")
}

/// Quantises rows symmetrically: the largest weight of a row becomes ±127. Returns the bytes and a scale for each row.
pub(crate) fn quantize_rows(numbers: &[f32], columns: usize) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = Vec::with_capacity(numbers.len());
    let mut scales = Vec::with_capacity(numbers.len() / columns);
    for row in numbers.chunks_exact(columns) {
        let scale = row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())) / 127.0;
        // A row of zeros has scale zero.
        let steps = |weight: &f32| if scale > 0.0 { (weight / scale).round_ties_even() } else { 0.0 };
        bytes.extend(row.iter().map(|weight| (steps(weight) as i8).cast_unsigned()));
        scales.push(scale);
    }
    (bytes, scales)
}
