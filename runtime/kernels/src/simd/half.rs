//! Conversions of 16-bit floating-point numbers in plain Rust.

/// Widens bf16.
pub(crate) fn bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Widens IEEE half precision.
pub(crate) fn f16(bytes: [u8; 2]) -> f32 {
    let half = u32::from(u16::from_le_bytes(bytes));
    let sign = (half & 0x8000) << 16;
    let (exponent, mantissa) = (half >> 10 & 31, half & 0x3ff);
    let magnitude = match exponent {
        0 => (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits(),
        31 => 0x7f80_0000 | mantissa << 13,
        _ => (exponent + 112) << 23 | mantissa << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// Rounds a number that is not negative to the nearest half, up to the largest.
pub(crate) fn to_f16(number: f32) -> [u8; 2] {
    let largest = f16([0xff, 0x7b]);
    let number = number.min(largest);
    let bits = number.to_bits();
    let half = if number < 6.103_515_6e-5 {
        (number * 16_777_216.0).round_ties_even() as u16
    } else {
        // The exponent's bias differs by 112; adding to the bits rounds, and carries into the exponent.
        let odd = bits >> 13 & 1;
        ((bits - (112 << 23) + 0xfff + odd) >> 13) as u16
    };
    half.min(0x7bff).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for half in 0..0x7c00_u16 {
            let number = f16(half.to_le_bytes());
            assert_eq!(to_f16(number), half.to_le_bytes(), "{number}");
            assert_eq!(f16((half | 0x8000).to_le_bytes()), -number);
        }
        assert!(f16([0, 0x7c]).is_infinite() && f16([1, 0x7c]).is_nan());
        assert_eq!(to_f16(f32::MAX), [0xff, 0x7b]);
    }
}
