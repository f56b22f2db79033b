//! An opcode in its parts: `add.rn.ftz.f32`.

use crate::program::{Kind, Mode, Round};

pub(super) struct Opcode<'t> {
    pub parts: Vec<&'t str>,
}

impl<'t> Opcode<'t> {
    pub fn new(text: &'t str) -> Opcode<'t> {
        Opcode { parts: text.split('.').collect() }
    }

    pub fn name(&self) -> &'t str {
        self.parts[0]
    }

    pub fn has(&self, part: &str) -> bool {
        self.parts[1..].contains(&part)
    }

    /// The types that it names, in order.
    pub fn kinds(&self) -> Vec<Kind> {
        self.parts.iter().filter_map(|part| kind(part)).collect()
    }

    /// Rounding and its relatives; `None` where a part is neither a modifier nor a type, nor one of `known`.
    pub fn mode(&self, known: &[&str]) -> Option<Mode> {
        let mut mode = Mode::default();
        for part in &self.parts[1..] {
            match *part {
                "rn" | "rni" => mode.round = Round::Nearest,
                "rz" | "rzi" => mode.round = Round::Zero,
                "rm" | "rmi" => mode.round = Round::Down,
                "rp" | "rpi" => mode.round = Round::Up,
                "ftz" => mode.ftz = true,
                "sat" => mode.sat = true,
                "approx" => mode.approx = true,
                // Exact division keeps the bounds of `div.full`.
                "full" => {}
                "NaN" => mode.nan = true,
                "relu" => mode.relu = true,
                part if kind(part).is_some() || known.contains(&part) => {}
                _ => return None,
            }
            mode.integral |= matches!(*part, "rni" | "rzi" | "rmi" | "rpi");
        }
        Some(mode)
    }
}

pub(super) fn kind(part: &str) -> Option<Kind> {
    Some(match part {
        "u8" | "b8" => Kind::U8,
        "s8" => Kind::S8,
        "u16" | "b16" => Kind::U16,
        "s16" => Kind::S16,
        "u32" | "b32" => Kind::U32,
        "s32" => Kind::S32,
        "u64" | "b64" => Kind::U64,
        "s64" => Kind::S64,
        "f16" => Kind::F16,
        "bf16" => Kind::Bf16,
        "f32" => Kind::F32,
        "f64" => Kind::F64,
        "f16x2" => Kind::F16x2,
        "bf16x2" => Kind::Bf16x2,
        _ => return None,
    })
}
