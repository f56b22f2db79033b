//! Reads a PTX text: directives, variables, kernels and their statements. What an opcode means is for [`crate::lower`].

mod body;
mod module;
mod tokens;

pub use module::{Call, Kernel, Module, Operand, Space, Statement, Variable, Width};

use crate::error::Result;
use tokens::{Token, Tokens};

/// Reads a PTX text; `file` is its name in messages.
///
/// # Errors
/// A directive or statement that is none of PTX, a name that is not declared, a function that is no kernel.
pub fn parse(file: &str, text: &str) -> Result<Module> {
    let mut tokens = Tokens::new(file, text);
    let mut module = Module { file: file.to_owned(), ..Module::default() };
    loop {
        match tokens.next()? {
            Token::End => return Ok(module),
            Token::Word(word) => directive(word, &mut tokens, &mut module)?,
            found => return Err(tokens.error(format!("a directive is expected, found {}", found.shown()))),
        }
    }
}

fn directive(word: &str, tokens: &mut Tokens, module: &mut Module) -> Result<()> {
    match word {
        ".version" | ".address_size" => {
            tokens.next()?;
        }
        ".target" => {
            module.target = tokens.word()?.to_owned();
            while tokens.accept(b',')? {
                tokens.word()?;
            }
        }
        ".file" => {
            let number = tokens.integer()? as u32;
            let Token::Text(path) = tokens.next()? else { return Err(tokens.error(".file without a path")) };
            module.files.insert(number, path.to_owned());
            while tokens.accept(b',')? {
                tokens.integer()?;
            }
        }
        ".section" => {
            tokens.word()?;
            tokens.skip_block()?;
        }
        ".visible" | ".extern" | ".weak" | ".common" => {}
        ".global" | ".const" | ".shared" => {
            let space = space(word).expect("one of these");
            let variable = body::variable(space, tokens)?;
            module.variables.push(variable);
        }
        ".entry" => {
            let kernel = body::kernel(tokens)?;
            module.kernels.push(kernel);
        }
        ".func" => return Err(tokens.error("functions that are not inlined are not executed")),
        _ => return Err(tokens.error(format!("the directive `{word}` is unknown"))),
    }
    Ok(())
}

fn space(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".const" => Space::Constant,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Parameter,
        _ => return None,
    })
}
