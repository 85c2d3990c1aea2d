"""Outcomes of calls with extreme arguments, for the tests of both faces."""


def nothing(*_arguments, **_options):
    pass


def outcome(call):
    """Makes a call, and returns the result: only exceptions of ordinary kinds are right."""
    try:
        call()
        return "done"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"NOT AN ORDINARY EXCEPTION: {type(error).__name__}: {error}"
