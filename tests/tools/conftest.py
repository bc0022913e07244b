"""How a tool that is given something unusable ends."""

import pytest


@pytest.fixture
def refused(call_tool, capsys):
    """Calls a tool, expects a status and one sentence, and returns all that it said on stderr."""

    def refused(*arguments, status=2):
        with pytest.raises(SystemExit) as caught:
            call_tool(*arguments)
        message = capsys.readouterr().err.strip()
        assert caught.value.code == status and 'Traceback' not in message
        assert status == 130 or 'error: ' in message.splitlines()[-1]
        return message

    return refused
