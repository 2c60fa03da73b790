"""LangChain's own integration tests of chat models, on the real SmolLM2-135M."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from plum_langchain import ChatPlum, Plum


@pytest.fixture(scope="module")
def plum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plum]:
    home: Path = tmp_path_factory.mktemp("standard") / "home"
    plum = Plum(home)
    yield plum
    plum.close()


class TestChatPlum(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _home(self, plum: Plum) -> None:
        self.plum = plum

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatPlum

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"plum": self.plum, "memory": "none", "max_tokens": 100}

    @pytest.mark.xfail(reason="135M parameters don't see when to call a tool; see test_agents.py")
    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @property
    def supports_json_mode(self) -> bool:
        return True
