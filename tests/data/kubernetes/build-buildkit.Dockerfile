FROM python:3.11-bookworm
USER 0
RUN useradd --create-home --home-dir /home/launch --uid 1000 --gid 0 --shell /bin/bash launch || true; mkdir -p /home/launch/.cache && chown -R 1000:0 /home/launch
ENV HOME=/home/launch SHELL=/bin/bash PYTHONUNBUFFERED=1
WORKDIR /home/launch
USER 1000
LABEL ai.wandb.launch-image=base
USER 0
COPY wandblaunch/ /tmp/wandblaunch/
RUN --mount=type=secret,id=pip,target=/run/wandblaunch/pip --mount=type=secret,id=pip.conf,target=/run/wandblaunch/pip.conf if [ -f /run/wandblaunch/pip ]; then . /run/wandblaunch/pip; fi; export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore; python3 /tmp/wandblaunch/bootstrap.py /tmp/wandblaunch/requirements.txt frozen
USER 1000
COPY --chown=1000:0 code/ /home/launch/
LABEL ai.wandb.launch-image=run
