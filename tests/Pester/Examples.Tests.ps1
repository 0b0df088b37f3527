# Every example of the README and of the cmdlets' pages, as it is written.
BeforeDiscovery {
    $root = (Resolve-Path "$PSScriptRoot/../..").Path
    # What cannot run here, and why. Nothing else is left out.
    $left = [ordered]@{
        '^Connect-Wandb( |$)(?!-Local)'              = 'asks a server of the internet'
        'https://api\.wandb\.ai'                     = 'asks a server of the internet'
        '^(Start-WandbLaunch|New-WandbLaunchJob) https://' = 'fetches from the internet'
        '-(Allow)?Resource kubernetes|-SlurmHost '   = 'asks a cluster'
        '^(ssh|sudo|docker|wandb|dotnet) '           = 'is another program'
    }
    $pages = Get-Item "$root/README.md", "$root/docs/*-*.md", "$root/docs/about_*.md", "$root/docs/errors.md", "$root/docs/guides/*.md"
    $examples = foreach ($file in $pages) {
        foreach ($block in [regex]::Matches((Get-Content $file -Raw), '(?ms)^```powershell\r?\n(.*?)^```')) {
            $text = $block.Groups[1].Value
            # Lines with a prompt stand for themselves on the README, and are one session elsewhere.
            $codes = if ($text -notmatch '(?m)^PS> ') { $text.Trim() }
            else {
                $lines = $text -split '\r?\n' -match '^PS> ' -replace '^PS> ' -replace '\s+# .*$'
                if ($file.BaseName -eq 'README') { $lines } else { $lines -join "`n" }
            }
            foreach ($code in $codes) {
                $reason = $left.Keys | Where-Object { $code -match $_ } | ForEach-Object { $left[$_] } | Select-Object -First 1
                @{ Page = $file.BaseName; Code = $code; Reason = $reason }
            }
        }
    }
    $offline = $examples | Where-Object { -not $_.Reason }
    $online = $examples | Where-Object { $_.Reason }
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect -Install
    $null = Import-WandbRun (Copy-OfflineRun) -Entity local
    $folder = New-TestFolder train
    Set-Content (Join-Path $folder train.py) 'import sys; print(sys.argv[1:])'
    Set-Content (Join-Path $folder sleep.py) 'import time; time.sleep(600)'
    Set-Content grid.csv "lr,layers`n0.1,2`n0.01,4"
    $null = Start-WandbLaunch $folder -EntryPoint 'python train.py' -Resource local-process -Quiet
    New-TestCertificate lab.pfx -Password (New-Guid) | Set-Content lab.password
    # A machine with four GPUs.
    $env:WANDBLAUNCH_GPUS = '0,1,2,3'
}
AfterAll {
    $env:WANDBLAUNCH_GPUS = $null
    Stop-TestHome
}

Describe 'the examples' {
    BeforeEach {
        $null = Connect-Wandb -Local
        Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false
        $null = 'gpu', 'cpu', 'old', 'default' | Where-Object { -not (Get-WandbRunQueue $_ -ErrorAction Ignore) } | New-WandbRunQueue
    }
    AfterEach {
        Set-Location (Join-Path $TestHome work)
        Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch
    }

    It '<Page>: <Code>' -ForEach $offline {
        if ($Code -match '-Priority') { Set-WandbRunQueue gpu -Resource local-container -PrioritizationMode V0 }
        if ($Page -eq 'New-WandbRunQueue' -and $Code -notmatch 'Get-WandbRunQueue gpu') { Get-WandbRunQueue gpu | Remove-WandbRunQueue -Confirm:$false }
        # The page's line with which a user imports what was built: here, what is tested.
        $Code = $Code.Replace('Import-Module ./out/WandbLaunch', "Import-Module '$env:WANDBLAUNCH_MODULE'")
        # What examples show of errors, and what is so on an empty machine.
        $expected = 'ServiceNotFound', $(if ($Code -match 'nosuchid') { 'LaunchNotFound' })
        $Error.Clear()
        $null = Invoke-Expression $Code
        $Error | Where-Object { $_ -is [Management.Automation.ErrorRecord] -and ($_.FullyQualifiedErrorId -split ',')[0] -notin $expected } | Should -BeNullOrEmpty
    }

    It 'leaves out only what is listed: <Page>: <Code> (<Reason>)' -ForEach $online {
        # It binds, even so: a parameter that is gone or misspelt would be seen.
        $ast = [Management.Automation.Language.Parser]::ParseInput($Code, [ref]$null, [ref]$null)
        foreach ($command in $ast.FindAll({ $args[0] -is [Management.Automation.Language.CommandAst] }, $true)) {
            $found = Get-Command $command.GetCommandName() -ErrorAction Ignore
            if ($found -isnot [Management.Automation.CmdletInfo]) { continue }
            $known = $found.Parameters.Keys
            $command.CommandElements | Where-Object { $_ -is [Management.Automation.Language.CommandParameterAst] } | ForEach-Object { $_.ParameterName | Should -BeIn $known }
        }
    }
}
