"""LangChain's own unit tests of chat models."""

from typing import Any

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from plum_langchain import ChatPlum


class TestChatPlum(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _home(self, served: Any) -> None:
        self.plum = served

    @property
    def chat_model_class(self) -> type[ChatPlum]:
        return ChatPlum

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"plum": self.plum, "user_id": "ana"}
