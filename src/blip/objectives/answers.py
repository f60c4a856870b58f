"""The loss of VQA, and of answers to dialogues: LM, weighted by how many annotators gave each."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip.data.tokenizer import Texts
from blip.model.grounded import EncoderDecoder
from blip.nn.kv import ImageKV
from blip.nn.precision import at_least_float32
from blip.objectives.lm import next_tokens, select_rows


def answer_loss(
    model: EncoderDecoder,
    questions: ImageKV,
    answers: Texts,
    asked: Int[Tensor, " answers"],
    weights: Float[Tensor, " answers"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """The weighted loss of some answers, a mean over the questions (BLIP, section 5.3).

    `questions` is what `QuestionModel.read_questions` returns, or `project_dialogues` of a model
    for dialogues; answer `i` starts with `[DEC]`, replies to question `asked[i]`, and its loss is
    the sum over its tokens times `weights[i]`. With `answers.visible` on the CPU, nothing waits for
    a GPU. With several processes of equally many questions, the mean of their losses is the loss of
    all.
    """
    scored = answers.visible[:, 1:]
    chosen = scored.flatten()
    # Nothing follows the last token, so it is not read.
    states = model.decode(answers.ids[:, :-1], answers.visible[:, :-1], questions.select(asked))
    losses = cross_entropy(
        at_least_float32(model.next_token_logits(select_rows(states.flatten(0, 1), chosen))),
        next_tokens(answers.ids, scored),
        label_smoothing=label_smoothing,
        reduction="none",
    )
    of_tokens = select_rows(weights.repeat_interleave(scored.shape[1]), chosen)
    return (losses * of_tokens).sum() / len(questions)
