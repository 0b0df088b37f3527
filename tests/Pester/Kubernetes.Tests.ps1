# A cluster as users meet it, with the module as it is built for them. The nodes are the test's: a pod begins when it says so.
BeforeDiscovery { $there = [bool]$env:WANDBLAUNCH_TEST_KUBECONFIG }

BeforeAll {
    . $PSScriptRoot/Common.ps1
    if (-not $env:WANDBLAUNCH_TEST_KUBECONFIG) {
        if ($env:CI -eq 'true') { throw 'CI must have an API server (tests/engines/kubernetes-up.sh)' }
        return
    }
    Start-TestHome
    $before = $env:KUBECONFIG
    $env:KUBECONFIG = $env:WANDBLAUNCH_TEST_KUBECONFIG
}
AfterAll {
    if ($env:WANDBLAUNCH_TEST_KUBECONFIG) {
        $env:KUBECONFIG = $before
        Stop-TestHome
    }
}

Describe 'a cluster' -Skip:(-not $there) {
    It 'is completed: the resource, the contexts and the namespaces' {
        Get-Completion 'Start-WandbLaunch x -Resource k' | Should -Be kubernetes
        Get-Completion 'Start-WandbLaunch x -KubeContext ' | Should -Be test
        Get-Completion 'Start-WandbLaunchAgent -Namespace ' | Should -Be default
        Get-Completion 'Start-WandbLaunch x -ImageBuilder ' | Should -Be docker, kaniko, buildkit
    }

    It 'is asked by -WhatIf, which shows the manifest and makes nothing' {
        $plan = Start-WandbLaunch -Resource kubernetes -DockerImage busybox:1 -Argument a, 'b c' -Environment @{ MY_TOKEN = 'very-secret-1' } -WhatIf
        $plan.Resource, $plan.Image, $plan.Prepared | Should -Be kubernetes, busybox:1, $true
        $job = $plan.Manifest | ConvertFrom-Json
        $job.kind, $job.metadata.namespace, $job.spec.backoffLimit | Should -Be Job, default, 0
        $job.spec.template.spec.containers[0].args | Should -Be a, 'b c'
        $plan.Manifest | Should -Not -Match very-secret
    }

    It 'says <Id> for <Why>' -ForEach @(
        @{ Id = 'RepositoryMissing'; Why = 'code that is to go nowhere'; Words = @{ Uri = '.'; EntryPoint = 'true'; NoInstall = $true } }
        @{ Id = 'KubeContextNotFound'; Why = 'a context that is not there'; Words = @{ DockerImage = 'busybox:1'; KubeContext = 'nosuch' } }
        @{ Id = 'KubeConfigNotFound'; Why = 'a file that is not there'; Words = @{ DockerImage = 'busybox:1'; KubeConfig = 'nosuch.yaml' } }
        @{ Id = 'KubernetesNotFound'; Why = 'a namespace that is not there'; Words = @{ DockerImage = 'busybox:1'; Namespace = 'nosuch' } }
        @{ Id = 'KubernetesArgumentUnknown'; Why = 'a key that is none'; Words = @{ DockerImage = 'busybox:1'; ResourceArgs = @{ kubernetes = @{ replicas = 2 } } } }
        @{ Id = 'KubernetesManifestInvalid'; Why = 'a manifest that is wrong'; Words = @{ DockerImage = 'busybox:1'; ResourceArgs = @{ kubernetes = @{ spec = @{ parallelism = -1 } } } } }
        @{ Id = 'ImageBuilderInvalid'; Why = 'a builder that there is not'; Words = @{ Uri = '.'; EntryPoint = 'true'; NoInstall = $true; Repository = 'registry.example.org/x'; ImageBuilder = 'podman' } }
        @{ Id = 'VolumeNotSupported'; Why = 'a folder of this machine'; Words = @{ DockerImage = 'busybox:1'; Volume = '/data:/data' } }
    ) {
        (Get-Fault { Start-WandbLaunch -Resource kubernetes @Words -WhatIf }).Id | Should -Be $Id
    }

    It 'has a launch that waits with a reason, and is stopped' {
        $run = Start-WandbLaunch -Resource kubernetes -DockerImage busybox:1 -NoWait
        $run.State, $run.Handle.Kind | Should -Be Pending, jobs.v1.batch
        $run.Handle.Id | Should -Be "default/wandb-launch-$($run.Id)"
        (Get-WandbLaunch $run.Id).Reason | Should -Match 'node|begun'
        (Stop-WandbLaunch $run.Id -PassThru).State | Should -Be Stopped
        (Get-WandbLaunch $run.Id).State | Should -Be Stopped
    }

    It 'runs nothing of a queue whose manifest asks for the node' {
        $fault = Get-Fault { Start-WandbLaunchAgent -Queue q -AllowResource kubernetes -AllowKubeArgument hostPath=/ -StopWhenEmpty }
        $fault.Id | Should -Be ResourceArgumentUnknown
    }
}
