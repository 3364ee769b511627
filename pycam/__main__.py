"""Run the command `pycam` as a process: the installed script, and `python -m pycam`."""

import sys


def run() -> int:
    """Run the command line of this process, and return its exit code."""
    try:
        import signal

        # While modules are imported there is nothing to clean up: Ctrl-C ends the process at once, without a traceback.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        return 130
    from pycam.cli import main
    from pycam.cli.process import open_streams

    open_streams()
    return main()


if __name__ == "__main__":
    sys.exit(run())
