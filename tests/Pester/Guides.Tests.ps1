# The scripts of docs/examples, each as a user would run it: on a clean home, in a pwsh of its own that cannot ask.
BeforeDiscovery {
    $root = (Resolve-Path "$PSScriptRoot/../..").Path
    # What each must say at the end of it.
    $scripts = @(
        @{ Name = 'quickstart'; Says = '\w{8}: final loss 1\.458\b', '\w{8}: final loss 0\.25\b', '--lr 0\.5 --epochs 3 --name two words' }
        @{ Name = 'queues'; Says = 'exit code of the agent: 2', 'demo +failed .*layers=4 lr=1 ' }
        @{ Name = 'from-the-cli'; Says = 'launched: Finished, \{"loss": 1\.', 'from a file: Finished, --lr 0\.3', 'queued: pending', 'job: job-train', '(?s)cli +finished.*cli +finished' }
        # Who is critical goes first, and two at a time have GPUs of their own.
        @{ Name = 'gpu-box'; Says = '--seed 99 +\{"loss": [\d.]+, "gpu": "[01]"\}', '--seed 3 +\{"loss": [\d.]+, "gpu": "[01]"\}', 'What if: .*Register agent' }
        @{ Name = 'windows-server'; Says = 'service: \S+', 'exit code of the night: 2', '1 failed', '1 finished' }
        @{ Name = 'nightly-regression'; Exit = 1; Says = 'same +0[.,]80', 'same +0[.,]35', 'changed +0[.,]5', 'report: ' }
        @{ Name = 'ablation-grid'; Says = 'queued: 8', '0\.1 +4 +2 +0[.,]4', '0 +2 +2 +0[.,]8' }
        @{ Name = 'air-gapped'; Says = 'Finished: labtool says 42', 'agent: labtool says 42' }
    )
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Install
    $root = (Resolve-Path "$PSScriptRoot/../..").Path
}
AfterAll { Stop-TestHome }

Describe 'the scripts of docs/examples' {
    It '<Name>.ps1 does what it says' -ForEach $scripts {
        $text = (Invoke-Pwsh "& '$root/docs/examples/$Name.ps1' *>&1 | Out-String -Width 160; `"ended with `$LASTEXITCODE`"") -join "`n"
        foreach ($word in $Says) { $text | Should -Match $word }
        if ($Exit) { $text | Should -Match "ended with $Exit" }
    }

    It 'all of them are tried here' -ForEach @{ Names = $scripts.Name } {
        (Get-Item "$root/docs/examples/*.ps1").BaseName | Sort-Object | Should -Be ($Names | Sort-Object)
    }
}
