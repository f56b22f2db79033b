fn main() -> std::process::ExitCode {
    ddpm::cli::main()
}
