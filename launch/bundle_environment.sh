# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced, as environment.sh of a bundle (launch/bundle.sh): Open MPI is beside this file.
mpi=$(cd "$(dirname "${BASH_SOURCE[0]}")/mpi" && pwd)
libraries=$mpi/usr/lib/x86_64-linux-gnu
export OPAL_PREFIX=$mpi/usr PATH=$mpi/usr/bin:$PATH
export LD_LIBRARY_PATH=$libraries:$libraries/pmix2/lib:$mpi/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# For ranks of one machine; the modules for networks lack their libraries, which is nothing to tell.
export OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1
export OMPI_MCA_mca_base_component_show_load_errors=0 PMIX_MCA_pcompress_base_silence_warning=1
unset mpi libraries
