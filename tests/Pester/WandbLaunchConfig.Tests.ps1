BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $folder = New-TestFolder
}
AfterAll { Stop-TestHome }

Describe 'New-WandbLaunchConfig' {
    It 'makes a config that ConvertTo-Json turns into a valid file' {
        $path = Join-Path $PWD launch.json
        New-WandbLaunchConfig $folder -Argument @{ lr = 0.1 } -Resource local-process | ConvertTo-Json -Depth 9 | Set-Content $path
        (Start-WandbLaunch -Config $path -Quiet | Receive-WandbLaunchLog) | Should -Be "['--lr', '0.1']"
    }

    It 'writes each parameter under W&B''s own key' {
        $config = New-WandbLaunchConfig -Uri https://github.com/me/train -Project p -Entity e -Name n -Resource local-container `
            -DockerImage image:1 -UserId 7 -DockerArgs @{ memory = '4g' } -Argument 'lr=0.1' -RunConfig @{ a = 1 } -EntryPoint python, main.py `
            -RunId abcd1234 -Cuda $true
        $config.project, $config.entity, $config.name, $config.resource, $config.run_id | Should -Be p, e, n, local-container, abcd1234
        $json = $config | ConvertTo-Json -Depth 9 | ConvertFrom-Json
        $json.docker.docker_image | Should -Be image:1
        $json.overrides.run_config.a | Should -Be 1
        $json.overrides.entry_point | Should -Be python, main.py
        "$($json.overrides.args)" | Should -Match 'lr.*0.1'
        $more = New-WandbLaunchConfig -GitRepo https://github.com/me/train -GitVersion dev -BaseImage python:3.12 -PythonVersion 3.12 -CudaVersion 12.4 -SystemPackage git -ResourceArgs @{ 'local-container' = @{ cpus = 2 } }
        $text = $more | ConvertTo-Json -Depth 9
        foreach ($word in 'dev', 'python:3.12', '12.4', 'cpus') { $text | Should -Match ([regex]::Escape($word)) }
        (New-WandbLaunchConfig -Job me/p/job-x:latest).job | Should -Be me/p/job-x:latest
    }

    It 'changes a config, from a text, a file and the pipeline' {
        (New-WandbLaunchConfig -Config '{"uri": "./train", "overrides": {"args": ["--lr", "0.1"]}}' -Argument lr=0.5).overrides.args -join ' ' | Should -Match '0\.5'
        ([pscustomobject]@{ uri = './a'; resource = 'local-process' } | New-WandbLaunchConfig -Name x).name | Should -Be x
        (0.1, 0.01 | ForEach-Object { New-WandbLaunchConfig ./train -Argument "lr=$_" -Name "lr $_" }).name | Should -Be 'lr 0.1', 'lr 0.01'
        (New-WandbLaunchConfig -InputObject @{ uri = './a' }).uri | Should -Be './a'
    }

    It 'takes a csv of arguments' {
        $csv = "lr,epochs`n0.1,1`n0.2,2" | ConvertFrom-Csv
        $runs = $csv | ForEach-Object { New-WandbLaunchConfig $folder -Argument @{ lr = $_.lr; epochs = $_.epochs } } | Start-WandbLaunch -Resource local-process -Quiet
        $runs.ExitCode | Should -Be 0, 0
        ($runs | Receive-WandbLaunchLog) | Should -Be "['--epochs', '1', '--lr', '0.1']", "['--epochs', '2', '--lr', '0.2']"
    }

    It 'says what cannot be' {
        (Get-Fault { New-WandbLaunchConfig -Config ./none.json }).Id | Should -BeIn ConfigNotFound, ConfigInvalid
        (Get-Fault { New-WandbLaunchConfig -Config '{"uri": ' }).Category | Should -BeIn InvalidArgument, InvalidData, ParserError
        (Get-Fault { New-WandbLaunchConfig ./train -Resource nothing }).Id | Should -Not -BeNullOrEmpty
    }

    It 'is shown, and completes' {
        New-WandbLaunchConfig ./train -Name n | Get-View | Should -Match 'Uri\s+Resource\s+Name\s+Project\s+Args'
        Get-Completion 'New-WandbLaunchConfig x -Resource local-p' | Should -Be local-process
    }

    It 'names the key that is meant, and lets a new one through when told' {
        $faults = foreach ($config in @{ uri = './train'; overides = @{ args = @('--lr', '1') } }, '{"uri": "./train", "resourc": "local-process"}', [pscustomobject]@{ uri = './train'; overrides = @{ arg = 1 } }) {
            Get-Fault { New-WandbLaunchConfig -Config $config }
        }
        $faults.Id | Should -Be ConfigKeyUnknown, ConfigKeyUnknown, ConfigKeyUnknown
        $faults.Category | Should -Be InvalidData, InvalidData, InvalidData
        $faults.Message -join ' ' | Should -Match "'overides' \(is 'overrides' meant\?\).*'resourc' \(is 'resource' meant\?\).*'overrides.arg' \(is 'overrides.args' meant\?\)"
        $config = New-WandbLaunchConfig -Config '{"uri": "./train", "brand_new": {"a": 1}}' -AllowUnknownKey
        $config.brand_new.a | Should -Be 1
        # Every key that servers of 2022 and of today have is known.
        (New-WandbLaunchConfig -Config '{"uri": "u", "resource": "local-process", "resource_args": {}, "docker": {"docker_image": null, "args": {}}, "git": {"version": "v"}, "overrides": {"args": [], "run_config": {}, "entry_point": ["a"], "artifacts": {}, "dockerfile": "D", "files": {}}, "cuda": true, "run_id": "r", "sweep_id": "s", "template_variables": {}, "author": "a", "queue_entity": "e", "builder": {}, "registry": {}, "job_name": "j"}').uri | Should -Be u
    }

    It 'runs a script for each input, as other commands do' {
        $runs = 1..3 | ForEach-Object { [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbRun'; Uri = "https://wandb.ai/me/demo/runs/r$_"; Config = @{ lr = $_ } } }
        $configs = $runs | New-WandbLaunchConfig -Argument { @{ lr = $_.Config.lr * 2 } }
        $configs.overrides.args.lr | Should -Be 2, 4, 6
        $factor = 10
        ($runs[0] | New-WandbLaunchConfig -Argument 'fixed=1', { "lr=$($_.Config.lr * $factor)" }).overrides.args | Should -Be 'fixed=1', 'lr=10'
        $fault = Get-Fault { $runs | New-WandbLaunchConfig -Argument { if ($_.Config.lr -eq 2) { throw 'not this' } } } | Where-Object Id -EQ ArgumentScriptFailed
        $fault.Id, $fault.Target.Uri | Should -Be ArgumentScriptFailed, https://wandb.ai/me/demo/runs/r2
        $fault.Message | Should -Match 'not this'
    }

    It 'warns of a name and a value in one word' {
        $null = New-WandbLaunchConfig ./train -Argument '--lr 5' -WarningVariable said -WarningAction SilentlyContinue
        $said | Should -Match "'--lr 5' is one word.*-Argument '--lr', 5"
        # What it says can be typed as it is, also where the name would be taken for a parameter of the command.
        $null = New-WandbLaunchConfig ./train -Argument '-l 5' -WarningVariable said -WarningAction SilentlyContinue
        (Invoke-Expression "New-WandbLaunchConfig ./train $([regex]::Match("$said", "-Argument '.*?', 5").Value)").overrides.args | Should -Be '-l', '5'
        $null = New-WandbLaunchConfig ./train -Argument '--name=two words', '--lr', '5', '-5 degrees' -WarningVariable said -WarningAction SilentlyContinue
        @($said).Count | Should -Be 1 -Because 'only the last one looks like an option with a value'
    }

    It 'writes times, spans and enums as one text on every road' {
        $values = [ordered]@{ at = [datetime]::new(2026, 1, 2, 3, 4, 5, [DateTimeKind]::Utc); on = [datetimeoffset]::new(2026, 1, 2, 3, 4, 5, [timespan]::FromHours(2)); took = [timespan]::FromHours(30); day = [DayOfWeek]::Monday; yes = $true; x = 1.5 }
        [cultureinfo]::CurrentCulture = 'de-DE'
        $map = (New-WandbLaunchConfig ./train -Argument $values).overrides.args
        $words = (New-WandbLaunchConfig ./train -Argument @($values.Values)).overrides.args
        $map.at, $map.on, $map.took, $map.day | Should -Be 2026-01-02T03:04:05Z, 2026-01-02T03:04:05+02:00, 1.06:00:00, Monday
        $words | Should -Be 2026-01-02T03:04:05Z, 2026-01-02T03:04:05+02:00, 1.06:00:00, Monday, True, 1.5
        # By way of a file, and launched as they are.
        $folder = New-TestFolder times
        $values | ForEach-Object { @{ uri = $folder; resource = 'local-process'; overrides = @{ args = @{ at = $_.at; took = $_.took; day = $_.day } } } } | ConvertTo-Json -Depth 5 | Set-Content times.json
        $direct = Start-WandbLaunch $folder -Resource local-process -Argument $values -Quiet
        $direct.Arguments | Should -Be --at, 2026-01-02T03:04:05Z, --on, 2026-01-02T03:04:05+02:00, --took, 1.06:00:00, --day, Monday, --yes, True, --x, 1.5
        (Start-WandbLaunch -Config ($map | ForEach-Object { @{ uri = $folder; overrides = @{ args = $_ } } }) -Resource local-process -Quiet).Arguments | Should -Be $direct.Arguments
    }

    It 'takes a path of a drive of the session' {
        $folder = New-TestFolder drive
        $null = New-PSDrive wl FileSystem (Split-Path $folder)
        (New-WandbLaunchConfig wl:/drive).uri | Should -Be $folder
        ('wl:/drive' | New-WandbLaunchConfig).uri | Should -Be $folder
        (Get-Item wl:/drive | New-WandbLaunchConfig).uri | Should -Be $folder
        Set-Content wl:/drive/c.json '{"uri": "u"}'
        (New-WandbLaunchConfig -Config wl:/drive/c.json).uri | Should -Be u
        (New-WandbLaunchConfig https://github.com/me/train).uri | Should -Be https://github.com/me/train
        (New-WandbLaunchConfig git@github.com:me/train).uri | Should -Be git@github.com:me/train
        Remove-PSDrive wl
    }

    It 'leaves empty cells of a table out, or keeps them' {
        $rows = "lr,epochs`n1,`n,2" | ConvertFrom-Csv
        ($rows | New-WandbLaunchConfig -Uri ./train).overrides.args | ConvertTo-Json -Compress | Should -Be '[{"lr":"1"},{"epochs":"2"}]'
        (@{ lr = 1 }, [ordered]@{ a = 2 } | New-WandbLaunchConfig -Uri ./train).overrides.args | ConvertTo-Json -Compress | Should -Be '[{"lr":1},{"a":2}]'
        (Get-Fault { @{ lr = 1; name = 'n' } | New-WandbLaunchConfig -Uri ./train }).Id | Should -Be ConfigKeyUnknown
        ($rows[0] | New-WandbLaunchConfig -Uri ./train -KeepEmpty).overrides.args.epochs | Should -Be ''
    }

    It 'takes its own objects after a file, a selection and a table' {
        $run = [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbRun'; Id = 'r1'; Name = 'n'; Uri = 'https://wandb.ai/me/demo/runs/r1'; State = 'finished' }
        $file = Join-Path $PWD run.xml
        $run | Export-Clixml $file
        (Import-Clixml $file | New-WandbLaunchConfig).uri | Should -Be $run.Uri
        ($run | ConvertTo-Json | ConvertFrom-Json | New-WandbLaunchConfig).uri | Should -Be $run.Uri
        ($run | Select-Object Uri, State | New-WandbLaunchConfig).uri | Should -Be $run.Uri
        ($run | Select-Object Uri, State | ConvertTo-Csv | ConvertFrom-Csv | New-WandbLaunchConfig -Name again).uri | Should -Be $run.Uri
        $item = [pscustomobject]@{ Id = '7'; Queue = 'gpu'; QueueProject = 'model-registry'; Uri = 'https://github.com/me/train'; Config = '{"uri": "https://github.com/me/train", "run_id": "x", "overrides": {"args": ["--lr", "1"]}}' }
        $again = $item | ConvertTo-Csv | ConvertFrom-Csv | New-WandbLaunchConfig
        $again.uri, ($again.overrides.args -join ' ') | Should -Be https://github.com/me/train, '--lr 1'
        $again.run_id | Should -BeNullOrEmpty
        $fault = Get-Fault { [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbRunQueue'; Name = 'gpu' } | New-WandbLaunchConfig }
        $fault.Id | Should -Be InputNotSupported
    }
}
