//! Names of kernels as compilers mangle them.

/// The kernel and template arguments of a mangled name: `_Z8silu_fwdIfEvPT_PKS0_i` is `silu_fwd<float>`. Knows the
/// arguments that exports have: types by name, integers and booleans.
pub fn instance(symbol: &str) -> Option<String> {
    let (name, mut rest) = identifier(symbol.strip_prefix("_Z")?)?;
    let Some(arguments) = rest.strip_prefix('I') else { return Some(name.into()) };
    rest = arguments;
    let mut arguments: Vec<String> = Vec::new();
    let mut named: Vec<&str> = vec![name];
    while !rest.starts_with('E') {
        let (argument, after) = if let Some(after) = rest.strip_prefix('f') {
            ("float".into(), after)
        } else if let Some(after) = rest.strip_prefix('i') {
            ("int".into(), after)
        } else if let Some(literal) = rest.strip_prefix('L') {
            let (value, after) = literal.get(1..)?.split_once('E')?;
            match literal.as_bytes()[0] {
                b'b' => ((if value == "1" { "true" } else { "false" }).into(), after),
                _ => (value.replace('n', "-"), after),
            }
        } else if let Some(back_reference) = rest.strip_prefix('S') {
            // S_ is the kernel's own name, S0_ the first named type, S1_ the second.
            let (digits, after) = back_reference.split_once('_')?;
            let index = if digits.is_empty() { 0 } else { digits.parse::<usize>().ok()? + 1 };
            (named.get(index)?.to_string(), after)
        } else {
            let (ty, after) = identifier(rest)?;
            named.push(ty);
            (ty.into(), after)
        };
        arguments.push(argument);
        rest = after;
    }
    Some(format!("{name}<{}>", arguments.join(",")))
}

/// `8silu_fwd...` is `silu_fwd` and what follows it.
fn identifier(text: &str) -> Option<(&str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let length: usize = text[..digits].parse().ok()?;
    text[digits..].split_at_checked(length)
}
