"""The options that all commands that ask a server share."""

from __future__ import annotations

from typing import Annotated

import typer

UrlOption = Annotated[str, typer.Option(help="Base URL of the policy server.", envvar="RLWAY_URL")]
PolicyOption = Annotated[str | None, typer.Option(help="Policy to ask; by default the server's default policy.")]
KeyOption = Annotated[str | None, typer.Option(help="API key, if the server requires one.", envvar="RLWAY_API_KEY")]
TimeoutOption = Annotated[float, typer.Option(help="How long to wait for an answer, seconds.", min=0.001)]

DEFAULT_URL = "http://127.0.0.1:8080"
