#!/usr/bin/env bash
# slurmctld and three slurmd, with munge, on this host alone; state and pid files in the folder $1. SLURM_CONF=$1/slurm.conf reaches it.
# Ports: 16817 and 17001 to 17003. MinJobAge is short, so that finished jobs are forgotten within a test: $2 seconds.
set -euo pipefail
D=${1:?folder}; AGE=${2:-300}; mkdir -p "$D"/{state,spool,run,log,munge,munge-run}; H=$(hostname -s)
chmod 755 "$D"
[ -s "$D/munge/munge.key" ] || dd if=/dev/urandom of="$D/munge/munge.key" bs=128 count=1 status=none
chown -R munge:munge "$D/munge" "$D/munge-run"; chmod 700 "$D/munge"; chmod 400 "$D/munge/munge.key"; chmod 755 "$D/munge-run"
cat > "$D/slurm.conf" <<C
ClusterName=ci
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/munge-run/munge.socket.2
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0,default_queue_depth=1000
ReturnToService=2
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=$AGE
InactiveLimit=0
KillWait=2
MessageTimeout=5
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$H NodeAddr=127.0.0.1 Port=17001 CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname=$H NodeAddr=127.0.0.1 Port=17002 CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n3 NodeHostname=$H NodeAddr=127.0.0.1 Port=17003 CPUs=8 RealMemory=1000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=low Nodes=n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=high Nodes=n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=n1 MaxTime=5 State=UP
PartitionName=closed Nodes=n1 MaxTime=5 State=DOWN
C
export SLURM_CONF=$D/slurm.conf
(umask 022; setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged --key-file="$D/munge/munge.key" --socket="$D/munge-run/munge.socket.2" --pid-file="$D/munge-run/munged.pid" --log-file="$D/munge/munged.log" --seed-file="$D/munge/munged.seed")
slurmctld
for n in n1 n2 n3; do mkdir -p "$D/spool/$n"; slurmd -N "$n"; done
for _ in $(seq 200); do [ "$(sinfo -h -p debug -t idle -o %D 2> /dev/null)" = 3 ] && exit 0; sleep 0.1; done
echo "slurm did not come up" >&2; tail -n 20 "$D/log/slurmctld.log" >&2; exit 1
