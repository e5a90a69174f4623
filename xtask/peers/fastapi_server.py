"""sentence-transformers behind FastAPI, as tutorials have it: the peer of `grating serve` for `cargo xtask load --url`.

python fastapi_server.py MODEL PORT   (pip install sentence-transformers fastapi uvicorn)
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

model = CrossEncoder(sys.argv[1], device="cpu")
app = FastAPI()


class Body(BaseModel):
    query: str
    documents: list[str]


# Not async: FastAPI runs it on its thread pool, so that requests are computed beside each other.
@app.post("/rerank")
def rerank(body: Body):
    scores = model.predict([(body.query, text) for text in body.documents], show_progress_bar=False)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return {"results": [{"index": i, "relevance_score": float(scores[i])} for i in order]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
