"""Everyday topics by theme: what a user may well have talked about, and perhaps never did.

Each theme has words that point to it and topics near them, each as a noun phrase and as the claim
a user would make. Data only; `negatives.py` chooses among them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """`about` follows "Did I tell you about", `claim` follows "Did I tell you that"."""

    about: str
    claim: str


@dataclass(frozen=True)
class Theme:
    """`cues` are words that point to the theme."""

    cues: tuple[str, ...]
    topics: tuple[Topic, ...]


_SOURCE = """
dog cat pet vet beagle greyhound puppy kitten paw walk kennel leash kibble
  my goldfish tank | I keep goldfish
  a puppy training class | I signed up for a puppy training class
  my parrot | I have a parrot
  pet insurance | I took out pet insurance
  a hamster | I bought a hamster
  breeding rabbits | I breed rabbits
  horse riding lessons | I take horse riding lessons
  a lost tortoise | I lost a tortoise
  beekeeping | I keep bees

bake bread bakery flour loaf pastry dough oven cake tart
  a croissant recipe | I make croissants on Sundays
  a gluten-free brownie | I make gluten-free brownies
  a sourdough starter | I keep a sourdough starter
  a pizza stone | I bought a pizza stone
  a cookery show | I was on a cookery show
  chocolate truffles | I make chocolate truffles
  a health inspection | I failed a health inspection
  a food blog | I write a food blog

cook dinner recipe kitchen food eat breakfast lunch meal pepper vegetable stew noodle
  a slow cooker | I bought a slow cooker
  a vegan month | I did a vegan month
  wine tasting | I go to wine tastings
  a sushi course | I took a sushi course
  canning tomatoes | I can my own tomatoes
  a barbecue | I had a barbecue
  an ice cream machine | I own an ice cream machine
  a broken dishwasher | my dishwasher broke

run train swim bike gym football race exercise marathon triathlon match pool
  a rowing machine | I have a rowing machine
  a karate club | I joined a karate club
  a skiing trip | I went skiing
  my tennis racket | I broke my tennis racket
  yoga | I do yoga before work
  a personal trainer | I hired a personal trainer
  fencing | I started fencing
  golf | I play golf at weekends
  a broken collarbone | I once broke my collarbone

learn class study exam teacher language course essay university lesson word grammar
  learning Swedish | I am learning Swedish
  piano lessons | I take piano lessons
  a driving theory test | I passed my driving theory test
  a pottery class | I go to a pottery class
  a spelling contest | I won a spelling contest
  my library card | I lost my library card
  learning Braille | I am learning Braille
  my old geography professor | I met my old geography professor
  a calligraphy workshop | I went to a calligraphy workshop

work job boss office shift salary colleague meeting client career interview report team
  a pension plan | I started a pension plan
  a trade union | I joined a trade union
  a company car | I got a company car
  a noisy printer | the office printer is noisy
  being promoted | I was promoted
  a business trip to Canada | I went on a business trip to Canada
  a strike | we are on strike
  working from home | I work from home on Fridays
  a pay cut | I took a pay cut

flat house rent move landlord boiler garden roof neighbour room heating apartment
  a burglar alarm | I put in a burglar alarm
  solar panels | I put up solar panels
  a loft conversion | we converted the loft
  a mortgage | I took out a mortgage
  a new carpet | I bought a new carpet
  a greenhouse | I built a greenhouse
  mice in the cellar | there are mice in the cellar
  a wallpaper colour | I chose a wallpaper
  a leaking tap | my tap is leaking

trip travel flight train hotel holiday ticket passport ferry airport visa camping
  a cruise | I booked a cruise
  a lost suitcase | I lost a suitcase
  a camper van | I rented a camper van
  a safari | I went on a safari
  a youth hostel | I stayed in a youth hostel
  jet lag | I suffer from jet lag
  a hot-air balloon | I flew in a hot-air balloon
  seasickness | I get seasick
  a pilgrimage | I walked a pilgrimage

doctor health sleep blood medicine pain allergy hospital pill weight knee diabetes
  a dentist appointment | I have a dentist appointment
  new glasses | I need new glasses
  a flu vaccination | I had a flu vaccination
  a hearing test | I had a hearing test
  hay fever | I have hay fever
  donating blood plasma | I donate plasma
  a stomach ulcer | I had a stomach ulcer
  physio for my neck | I see someone about my neck
  quitting cigarettes | I quit smoking

boat car engine repair wood tool paint build machine sail tyre chain screw
  a welding course | I took a welding course
  a parking fine | I got a parking fine
  a motorbike licence | I have a motorbike licence
  a model railway | I built a model railway
  a garage sale | I held a garage sale
  a 3D printer | I own a 3D printer
  a cracked windscreen | my windscreen is cracked
  a canoe | I own a canoe

son daughter brother sister mother father family child friend wedding husband wife mum dad cousin
  a family tree | I drew up our family tree
  a school play | my niece was in a school play
  adopting a child | I want to adopt a child
  a christening gown | I inherited a christening gown
  a class reunion | I went to a class reunion
  a pen friend | I have a pen friend
  a silver wedding | we had our silver wedding
  triplets | my cousin had triplets
  a divorce lawyer | I saw a divorce lawyer

money budget price pay euro bank invoice cost tax loan shop customer spreadsheet naira kronor
  a tax refund | I got a tax refund
  a lottery ticket | I bought a lottery ticket
  a stolen wallet | my wallet was stolen
  a savings account | I opened a savings account
  a gift voucher | I have a gift voucher
  a student loan | I paid off my student loan
  an auction | I sold a vase at an auction
  cryptocurrency | I own some cryptocurrency
  a charity donation | I gave to charity

computer phone laptop program code python file data app photo website internet
  a cracked screen | my phone screen is cracked
  a forgotten password | I forgot my password
  a smart watch | I own a smart watch
  a podcast | I record a podcast
  a chess app | I play chess on my phone
  a photo exhibition | I had a photo exhibition
  a drone | I fly a drone
  a computer virus | I caught a computer virus
  building a website | I am building a website

music book film game guitar read write song concert sing draw art museum
  a film festival | I went to a film festival
  my violin | I play the violin
  a detective novel | I am writing a detective novel
  a choir rehearsal | I sing in a choir
  a jigsaw puzzle | I finished a jigsaw puzzle
  a theatre ticket | I bought theatre tickets
  a drum kit | I own a drum kit
  a poetry evening | I read at a poetry evening

weather plant tree flower grow vegetable balcony bird sea beach mountain hike
  growing orchids | I grow orchids
  a hailstorm | my car was hit by hail
  a telescope | I own a telescope
  mushroom picking | I pick mushrooms in the woods
  an apple tree | I planted an apple tree
  fossils | I collect fossils
  an owl nest | there is an owl nest behind my house
  rock climbing | I go rock climbing
"""


def _parsed(source: str) -> tuple[Theme, ...]:
    themes = []
    for block in source.strip().split("\n\n"):
        cues, *lines = block.splitlines()
        pairs = (line.split("|") for line in lines)
        topics = tuple(Topic(about.strip(), claim.strip()) for about, claim in pairs)
        themes.append(Theme(tuple(cues.split()), topics))
    return tuple(themes)


THEMES = _parsed(_SOURCE)
