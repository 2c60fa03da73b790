"""Secrets in sentences: found by their shape and by the words around them; ordinary talk isn't."""

import pytest

from plum_langchain.screening.secrets import find_keys, find_passwords

# Made up; none of them opens anything.
KEYS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-ant-api03-abcDEF123456ghiJKL7890",
    "sk-proj-abcdEFGH1234567890abcd",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "xoxb-1234567890-abcdefghij",
    "5f2b8c1d9e3a7f605f2b8c1d9e3a7f60",
    "a8Kd03mZq71LpXw9Tb2R",
]

PASSWORDS = {
    "my password is hunter2": "hunter2",
    "the wifi password at the bakery is swordfish": "swordfish",
    "I changed my password to Tr0ub4dor&3 yesterday": "Tr0ub4dor&3",
    "use hunter2 as my password": "hunter2",
    "hunter2 is my netflix password": "hunter2",
    "My password? It's hunter2.": "hunter2",
    "Swordfish. That's my password": "Swordfish",
    "password: correct horse battery staple": "correct horse battery staple",
    "my password hunter2 doesn't work": "hunter2",
    "password:\nhunter2": "hunter2",
    "my PIN is 4711": "4711",
    "PIN 4711": "4711",
    "the alarm code is 9931, don't tell Rui": "9931",
    "the code for the garage door is 2280": "2280",
    "my pin is four seven one one": "four seven one one",
    "api_key=abc123def": "abc123def",
    "my seed phrase is witch collapse practice feed": "witch collapse practice feed",
    "mein Passwort ist Sommer2024": "Sommer2024",
    "mi contraseña es gato123": "gato123",
    "mon mot de passe est soleil": "soleil",
    "мой пароль: qwerty12": "qwerty12",
    "密码是hunter2abc": "hunter2abc",
    "パスワードは hunter2 です": "hunter2",
    "비밀번호는 abcd1234 입니다": "abcd1234",
}

ORDINARY = [
    "I forgot my password again",
    "I forgot the password to my bank",
    "what's the wifi password?",
    "my password manager is a blessing",
    "my password is too long",
    "the password is wrong, again",
    "my password is written in the green notebook",
    "the secret is a hot oven",
    "the secret: cold butter",
    "I keep a spare key under the mat",
    "the key is to rest the dough",
    "a token of love is enough",
    "EPSG code 3021 and EPSG:3006",
    "zip code 4000-123 Porto",
    "the pin of the hinge is 12 mm wide",
    "my bowling pin collection has 300 pieces",
    "I used code SUMMER20 for the discount",
    "3.14159265358979323846 is pi",
    "see https://example.com/2024/01/how-to-bake-a-sourdough-bread",
    "Donaudampfschifffahrtsgesellschaftskapitän war mein Opa",
    "meu gato come 250 g por dia",
    "minun äitini syntyi 1952",
    "我的面包店星期一关门",
    "パン屋は月曜日が休みです",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", "here it is: {}", "use {}, please", "key\n{}\nok?"])
def test_keys_are_known_by_their_shape(key: str, around: str) -> None:
    text = around.format(key)
    assert any(key in value for found in find_keys(text) for value in found.values)
    assert any(text[found.start : found.end] in key for found in find_keys(text))


def test_a_private_key_is_found_whole() -> None:
    body = "MIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n"
    block = f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----"
    found = list(find_keys(f"look\n{block}\nok"))
    assert any(one.values == (block,) for one in found)


def test_the_password_of_an_address_is_found() -> None:
    (found, *_) = find_keys("the database is at postgres://bob:s3cr3tpass@db.example.com/x")
    assert "s3cr3tpass" in found.values


@pytest.mark.parametrize(("text", "password"), PASSWORDS.items())
def test_passwords_are_known_by_the_words_around_them(text: str, password: str) -> None:
    found = list(find_passwords(text))
    assert password in {value for one in found for value in one.values}
    assert all(one.sort == "password" for one in found)


@pytest.mark.parametrize(
    ("asked", "reply", "password"),
    [
        ("What's the wifi password?", "swordfish", "swordfish"),
        ("And which PIN do you want?", "4711 please", "4711"),
        ("Sure. Can you tell me the alarm code?", "It's nine nine three one.", "nine"),
        ("Wie lautet das Passwort?", "Sommer", "Sommer"),
    ],
)
def test_a_bare_reply_to_who_asks_for_it_is_one(asked: str, reply: str, password: str) -> None:
    assert any(password in value for f in find_passwords(reply, asked) for value in f.values)
    assert not list(find_passwords(reply, "How was your day?"))


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ("What's the wifi password?", "I don't remember it."),
        ("What's the wifi password?", "No idea."),
        ("What did I tell you about my bakery?", "It is closed on Mondays."),
        ("Is the alarm code safe?", "Choose six digits."),
    ],
)
def test_other_replies_are_none(asked: str, reply: str) -> None:
    assert not list(find_passwords(reply, asked))


@pytest.mark.parametrize("told", ['"   "', "( ) ( ) ( ) ( )"])
def test_nothing_is_no_password_that_would_be_everywhere(told: str) -> None:
    found = find_passwords(f"The wifi password is {told} for guests.")
    assert all(value.strip() for one in found for value in one.values)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_talk_holds_none(text: str) -> None:
    assert not [*find_keys(text), *find_passwords(text)]


def test_what_was_found_is_never_shown() -> None:
    (found,) = find_passwords("my PIN is 4711")
    assert "4711" not in repr(found)
