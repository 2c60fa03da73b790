"""Whether the default encoder tells a subject from others in other languages than English.

    python benchmarks/languages.py

Of four sentences in each language one speaks of each of four subjects. Printed are the cosines of
subjects with their own sentences and with the other three; `Plum.mentions` takes what is at 0.35.
"""

import torch

from plum_langchain.memories.embeddings import LocalEmbeddings

SAID = {
    "English": {
        "my dog": "My dog is called Rex and sleeps in the kitchen.",
        "dentist": "I see the dentist on Tuesdays.",
        "piano": "I play the piano every evening.",
        "bakery": "My bakery is closed on Mondays.",
    },
    "German": {
        "mein Hund": "Mein Hund heißt Rex und schläft in der Küche.",
        "Zahnarzt": "Ich gehe dienstags zum Zahnarzt.",
        "Klavier": "Ich spiele jeden Abend Klavier.",
        "Bäckerei": "Meine Bäckerei ist montags geschlossen.",
    },
    "Finnish": {
        "koirani": "Koirani nimi on Rex ja se nukkuu keittiössä.",
        "hammaslääkäri": "Käyn hammaslääkärissä tiistaisin.",
        "piano": "Soitan pianoa joka ilta.",
        "leipomo": "Leipomoni on kiinni maanantaisin.",
    },
    "Russian": {
        "собака": "Мою собаку зовут Рекс, она спит на кухне.",
        "зубной врач": "По вторникам я хожу к зубному врачу.",
        "пианино": "Каждый вечер я играю на пианино.",
        "пекарня": "Моя пекарня закрыта по понедельникам.",
    },
    "Japanese": {
        "犬": "私の犬はレックスといい、台所で寝ます。",
        "歯医者": "火曜日に歯医者に行きます。",
        "ピアノ": "毎晩ピアノを弾きます。",
        "パン屋": "私のパン屋は月曜日が休みです。",
    },
}


def main() -> None:
    """Embed and print."""
    embeddings = LocalEmbeddings()
    print("| language | own | others | others at 0.35 or more |\n| --- | --- | --- | --- |")
    for language, said in SAID.items():
        subjects = torch.tensor(embeddings.embed_documents(list(said)))
        sentences = torch.tensor(embeddings.embed_documents(list(said.values())))
        cosines = subjects @ sentences.T  # (subjects, sentences)
        own = cosines.diagonal()
        others = cosines[~torch.eye(len(said), dtype=torch.bool)]
        print(
            f"| {language} | {own.min():.2f}-{own.max():.2f} | {others.min():.2f}-"
            f"{others.max():.2f} | {int((others >= 0.35).sum())} of {len(others)} |"
        )


if __name__ == "__main__":
    main()
