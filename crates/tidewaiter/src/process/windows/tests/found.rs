//! Programs, batch files and scripts: how they are found, and the arguments that reach them.

use super::*;

/// Runs a command whose child tells its arguments. Returns them.
fn told(command: &Command) -> Vec<String> {
    let (text, status) = run(&command
        .clone()
        .env(ACTION, "arguments")
        .stderr(Stdio::Inherit));
    assert_eq!(status, ExitStatus::Code(0), "{text}");
    arguments_in(&text)
}

fn arguments_in(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("<["));
    let decoded = lines.map(|line| {
        let units = line.trim_matches(['<', '[', ']', '>']).split(", ");
        let units = units.filter(|unit| !unit.is_empty());
        let units = units.map(|unit| u16::from_str_radix(unit, 16).expect("it is a number"));
        String::from_utf16(&units.collect::<Vec<_>>()).expect("the tests use whole characters")
    });
    decoded.collect()
}

#[test]
fn a_batch_file_gets_its_arguments_and_runs_none_of_them() {
    let batch = TestFile::batch("run.bat");
    let arguments = [
        "plain",
        "",
        "a b",
        "&echo broken",
        "\"&echo broken",
        "\\\"&echo broken&\"",
        "!PATH!",
        "^&|<>()",
        "a,b;c=d",
        "*",
        "back\\",
        "a b\\",
        "＂ä𝄞",
    ];
    assert_eq!(told(&Command::new(&batch.0).args(arguments)), arguments);
}

/// Runs our program by the line that is meant for a batch file, in which `cmd.exe` can run a program as well.
fn told_through_interpreter(arguments: &[&str]) -> Vec<String> {
    let command = child("arguments");
    let fixed = ["--exact", CHILD, "--nocapture", "--"];
    let arguments = fixed.iter().chain(arguments).map(AsRef::as_ref);
    let arguments = arguments.map(|argument| wide(argument).expect("it has no NUL"));
    let arguments: Vec<_> = arguments.collect();
    let environment = Environment::of(&command).expect("the command is valid");
    let program = Program::of(&command, &environment).expect("it exists");
    let mut image = image(&command, &environment, &program).expect("it can be passed on");
    let own = wide(&command.program).expect("it has no NUL");
    let line = batch::command_line(&own, &arguments).expect("they can be passed");
    let interpreter = Command::new("cmd.exe");
    let interpreter = Program::of(&interpreter, &environment).expect("every system has it");
    image.start = interpreter.start(false).expect("it can be started");
    image.start.command_line = terminated(line);
    let job = Job::create().expect("a job can be made");
    let command = command.stdin(Stdio::Null).stderr(Stdio::Inherit);
    let mut streams = Streams::of(&command).expect("there are pipes");
    start::start(&image, &job, &streams).expect("it starts");
    let output = streams.ours.remove(0).pipe;
    drop(streams);
    arguments_in(&read_all(&output))
}

/// Wine replaces variables in the arguments of a batch file once more, where the file uses them, which Windows does not.
/// So what is between two `%` is tested without a file.
#[test]
fn no_variable_is_replaced_in_an_argument() {
    let arguments = [
        "%PATH%",
        "%cd%",
        "%cd:~,%",
        "100%",
        "%%",
        "%%PATH%%",
        "%CMDCMDLINE:~-1%&echo broken",
        "\"%PATH%\"&echo broken",
        "^%PATH^%",
    ];
    assert_eq!(told_through_interpreter(&arguments), arguments);
}

/// Runs some cases of `check`, each with random arguments made of these characters.
fn with_random_arguments(characters: &str, check: fn(&[&str]) -> Vec<String>) {
    use proptest::prelude::*;

    let argument = format!("[{characters}]{{0,12}}");
    let arguments = proptest::collection::vec(argument.as_str(), 1..30);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&arguments, |arguments| {
        let given: Vec<_> = arguments.iter().map(String::as_str).collect();
        prop_assert_eq!(check(&given), arguments);
        Ok(())
    });
    outcome.expect("they all arrive");
}

#[test]
fn random_arguments_arrive_through_a_batch_file() {
    with_random_arguments("a\"\\\\ ^&|<>!(),;=~:*@ä𝄞", |arguments| {
        let batch = TestFile::batch("random.cmd");
        told(&Command::new(&batch.0).args(arguments))
    });
}

#[test]
fn random_arguments_arrive_through_the_interpreter() {
    with_random_arguments("cd%\"\\\\ ^&|<>!(),;=~:*@ä𝄞", told_through_interpreter);
}

/// Goal: the environment does not choose which program runs batch files.
#[test]
fn batch_files_are_run_by_the_systems_interpreter_alone() {
    let batch = TestFile::batch("100%PATH%.bat");
    let command = Command::new(&batch.0)
        .arg("x")
        .env("ComSpec", r"C:\nowhere.exe");
    assert_eq!(told(&command.env("PATH", batch.directory())), ["x"]);
    // Windows ignores dots and spaces at the end of a name.
    let mut name = batch.0.clone().into_os_string();
    name.push(". .");
    assert_eq!(told(&Command::new(name).arg("&x")), ["&x"]);
}

#[test]
fn programs_are_found_by_name_with_the_extensions_of_the_childs_environment() {
    let batch = TestFile::batch("tide.waiter.BAT");
    let by_name = |name: &str| Command::new(name).arg("x").env("PATH", batch.directory());
    assert_eq!(told(&by_name("tide.waiter")), ["x"]);
    assert_eq!(told(&by_name("Tide.Waiter").env_remove("PATHEXT")), ["x"]);
    let others = by_name("tide.waiter").env("PATHEXT", ".EXE;.COM");
    assert_eq!(
        spawn(&others).expect_err("no such program").step,
        SpawnStep::Search
    );
}

#[test]
fn a_script_is_run_by_the_interpreter_that_it_names() {
    let interpreter = TestFile::batch("interpret.cmd");
    let path = interpreter.0.display().to_string();
    let directory = interpreter.directory();
    for line in [
        &format!("#!{path}"),
        "#! /no/such/interpret\n",
        "#!/no/such/env interpret\r\nmore",
    ] {
        let script = TestFile::new("script", line);
        let command = Command::new(&script.0).args(["a b", "&x"]);
        let script = script.0.display().to_string();
        let expected = [&script, "a b", "&x"];
        assert_eq!(told(&command.env("PATH", directory)), expected, "{line}");
    }
    let script = TestFile::new("named.script", "#!/no/such/interpret -x y");
    let path = std::env::join_paths([script.directory(), directory]).expect("they can be joined");
    let command = Command::new("named")
        .env("PATH", path)
        .env("PATHEXT", ".SCRIPT;.CMD");
    let script = script.0.with_extension("SCRIPT").display().to_string();
    assert_eq!(told(&command), ["-x y", &script]);
}
