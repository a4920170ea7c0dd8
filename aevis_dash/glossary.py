"""The words of the page, each explained once: the page's help and docs/using.md show these texts."""

from textwrap import fill

GLOSSARY: dict[str, str] = {
    "src": "The normal source image that an attack began with.",
    "adv": (
        "The adversarial image that was made from src: it looks nearly the same, and the network takes it for "
        "another class."
    ),
    "tar": "The target: a normal image of the class that adv is taken for. The three together are a triplet.",
    "example": (
        "A source and its adversarial. Their datapaths are compared with those of more images than tar: by "
        "default with up to 10 candidates for the target, of which tar is one, and with 20 null targets. So there "
        "are up to 32 datapaths for an example."
    ),
    "null target": (
        "An image of a random other class than src's and adv's, which stands in the target's place to show what "
        "chance gives."
    ),
    "layer": "The output of an activation function, or a residual sum that no activation follows.",
    "feature map": "One channel of a layer's output. The page calls it a map.",
    "neuron": "One place of a feature map.",
    "gate": (
        "A number between 0 and 1 that multiplies a feature map: at 0 the map is closed, at 1 it is as it is. A "
        "high gate says that the map is in the small set that was found to keep the prediction."
    ),
    "datapath": "What an extraction method finds for one image: a gate for every feature map of the network.",
    "hard set": (
        "A yes-or-no reading of a datapath: its maps run at gate 1 and all others at gate 0. By default it is as "
        "few maps as keep the label with 90 % of its probability, with the same share of maps in every layer. Alone "
        "such a set says the same label of other images too, so it does not recognise the image."
    ),
    "critical map": (
        "A map of the hard set. The page says that the prediction needs the map, though another set may keep the "
        "prediction too."
    ),
    "core": (
        "The fewest maps that were found to be enough by themselves to keep the label, taken from any layers. It "
        "is mostly much smaller than the hard set, and early layers may have no map in it."
    ),
    "share": (
        "A part of a whole. Of a hard set it is the part of each layer's maps that is critical; of a contribution "
        "it is the part of the effect that a map makes to first order."
    ),
    "datapath distance": (
        "How far apart the datapaths of two images are at a layer. By default it is the cosine distance of the "
        "activations, on the maps that are critical to any of the three images."
    ),
    "river": (
        "The picture of the datapaths as curves over the layers. The gap between src and tar is their distance, "
        "and adv splits the gap in the proportion of its distances to both."
    ),
    "null band": (
        "Where adv would run in the river if the target were an image of a random other class, which is chance: "
        "from the tenth to the nine tenths of the null targets. What lies inside of it says nothing."
    ),
    "diverging": "The stretch of layers in which the distance between src and adv rises most, beyond chance.",
    "merging": "The stretch of layers in which the distance between adv and tar falls most, beyond chance.",
    "transition": "The layers at which adv passes from src's side of the river to tar's, or back, beyond chance.",
    "speaks for": (
        "A map speaks for the class whose logit falls most when the map is closed on the five images that fire it "
        "most. The number is 1 where that class falls most on each of them. It says nothing of the shown images, where "
        "the map may do something else. A map speaks against the class whose logit rises most."
    ),
    "detects": (
        "The part of the drawn or marked objects on which a map fires most; the number is the overlap of both, from 0 "
        "to 1."
    ),
    "logit": ("The number that the network gives a class, before all classes' numbers are turned into probabilities."),
    "margin": (
        "The logit of the source's class less the logit of the class that adv is taken for. It is negative on "
        "adv. On the cards of examples, where the attack is meant, it is told from the attack's side: how far the "
        "wrong class is ahead."
    ),
    "turning effect": (
        "How much src's map, put into adv's run, is estimated to turn the prediction back to the source's class: "
        "as a part of the margin's change from adv to src. Flip-back is the test of it."
    ),
    "attribution patching": (
        "An estimate, by gradients, of what every single map would turn back if it were taken from the other image; "
        "integrated attribution patching averages it over points between the two images. It knows of no datapath, so "
        "its first maps are a control of a flip-back."
    ),
    "flip-back": (
        "A test: the activations of chosen maps are put from src's run into adv's run, and all that follows is "
        "computed anew. The label is given back where the source's class becomes the prediction again; controls, "
        "such as random maps, stand beside it."
    ),
    "area of interest": "The neurons of a map that you ask about: those that you chose, or the whole map.",
    "receptive field": ("The part of the image that a neuron can see: nothing outside of it changes the neuron."),
    "contribution": (
        "The part of an effect, such as that an area fires or a class is predicted, that a map of an earlier "
        "layer makes: its gate times its share. The five strongest contributors are called winners."
    ),
    "winner": "One of the maps that contribute most to what was traced; it has a star.",
    "relevance": (
        "Where a map speaks most for the class that the network predicts: its activation times the gradient of that "
        "class's logit."
    ),
    "foil": (
        "What an image is compared with. When contributions are found the maps are moved towards it: by default "
        "towards the other image of the pair, else towards silence or towards the mean over images of third "
        "classes."
    ),
    "depth": (
        "Where two models stand side by side: the share of a model's layers that lie before a layer. It is 0 for the "
        "first layer; what happens at no layer has depth 1."
    ),
    "trail": "The steps that you took: traces back to earlier layers, and flip-backs.",
    "adversarial score": (
        "How far an image lies from normal images of the class that is predicted for it, at the input of the "
        "network's last step. The higher it is, the less the image is like them."
    ),
    "AUROC": (
        "How well the adversarial score tells misclassified adversarials from their sources: the chance that a "
        "random one of these adversarials has a higher score than a random source. 0.5 is chance, and 1 tells all "
        "apart."
    ),
}
"""The words in the order in which they build on one another, with their explanations."""


def as_markdown() -> str:
    """The glossary as a list in markdown, on lines of 120 characters at most."""
    told = (f"- **{word}**: {text}" for word, text in GLOSSARY.items())
    return "\n".join(fill(text, 120, subsequent_indent="  ", break_on_hyphens=False) for text in told)
