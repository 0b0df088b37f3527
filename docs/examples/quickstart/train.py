import argparse, json, os

p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.01)
p.add_argument("--epochs", type=int, default=5)
p.add_argument("--name", default="a run")
a = p.parse_args()
# A real project calls wandb.init(config=vars(a)); the SDK then takes what the launch overrides from WANDB_CONFIG, as is done here.
config = {**vars(a), **json.loads(os.environ.get("WANDB_CONFIG", "{}"))}
loss = 1.0
for epoch in range(config["epochs"]):
    loss *= 1 - config["lr"]
    print("epoch", epoch, "loss", round(loss, 6))
print("final loss", round(loss, 6))
