#!/usr/bin/env bash
# A real Slurm of one node on this machine, for tests: Debian's packages, no systemd, loopback only. Run as root.
#   one_node.sh start|stop
# In it: $DIR, a short path since it holds a socket, and links to its files in /etc/slurm.
set -euo pipefail
DIR=${ONE_NODE_DIR:-/tmp/one-node-slurm}
CPUS=${ONE_NODE_CPUS:-4} MEMORY_MB=${ONE_NODE_MEMORY_MB:-12000} PORT=${ONE_NODE_PORT:-16817}
HOST=$(hostname -s)
PATH=$PATH:/usr/sbin:/sbin # where the daemons are

install() {
  command -v slurmctld slurmd sbatch munged >/dev/null && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
}

configure() {
  mkdir -p "$DIR"/{state,spool,log,munge} /etc/slurm /run/munge
  chmod 700 "$DIR/munge"; chmod 755 /run/munge
  head -c 1024 /dev/urandom >"$DIR/munge/key"; chmod 400 "$DIR/munge/key"
  cat >"$DIR/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# memory is held to by looking once a second, which needs no control groups
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobs.log
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
MinJobAge=900
KillWait=2
OverTimeLimit=0
MpiDefault=none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MailProg=/bin/true
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY_MB State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=train Nodes=$HOST MaxTime=INFINITE DefMemPerCPU=500 State=UP
CONF
  # not by SLURM_CONF: a job step would not know it
  ! [ -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ] || { echo "there is a Slurm here already" >&2; exit 1; }
  ln -sfn "$DIR/slurm.conf" /etc/slurm/slurm.conf
}

start() {
  ! [ -e "$DIR/slurmctld.pid" ] || { echo "already started in $DIR" >&2; exit 1; }
  install
  configure
  munged --key-file="$DIR/munge/key" --socket=/run/munge/munge.socket.2 --pid-file="$DIR/munged.pid" \
    --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/seed"
  slurmctld
  slurmd
  for _ in $(seq 100); do
    [ "$(sinfo --noheader --format %T 2>/dev/null)" != idle ] || return 0
    sleep 0.2
  done
  tail -n 20 "$DIR"/log/*.log >&2
  exit 1
}

stop() {
  scancel --user root 2>/dev/null || true
  for name in slurmd slurmctld munged; do
    pid=$(cat "$DIR/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || continue 2; sleep 0.2; done
    kill -9 "$pid" || true
  done
  [ "$(readlink /etc/slurm/slurm.conf)" != "$DIR/slurm.conf" ] || rm /etc/slurm/slurm.conf
  rm -rf "$DIR"
}

"${1:?start or stop}"
