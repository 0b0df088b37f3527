using System.Management.Automation;
using System.Net.Http.Headers;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Import;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

[Collection(SessionCollection.Name)]
public sealed class ServerTests
{
    [Fact]
    public async Task Every_request_without_the_key_is_refused()
    {
        using var client = new HttpClient();
        foreach (var path in new[] { "/", "/graphql", "/files/local/demo/22stxuh9/diff.patch", "/shutdown" })
        {
            Assert.Equal(401, (int)(await client.GetAsync(new Uri(Fixture.Server.Url + path))).StatusCode);
            Assert.Equal(401, (int)(await client.PostAsync(new Uri(Fixture.Server.Url + path), null)).StatusCode);
        }

        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key + "x"))
        );
        Assert.Equal(401, (int)(await client.GetAsync(new Uri(Fixture.Server.Url))).StatusCode);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
        );
        Assert.Contains(
            "WandbLaunch server",
            await client.GetStringAsync(new Uri(Fixture.Server.Url)),
            StringComparison.Ordinal
        );
        using var foreign = new HttpRequestMessage(HttpMethod.Get, Fixture.Server.Url);
        foreign.Headers.Host = "evil.example";
        Assert.Equal(403, (int)(await client.SendAsync(foreign)).StatusCode);
    }

    [Fact]
    public void The_imported_run_has_everything_that_the_sdk_left()
    {
        using var shell = new Shell();
        var run = (WandbRun)Assert.Single(shell.Ok("Get-WandbRun local/demo/runs/22stxuh9")).BaseObject;
        Assert.Equal(
            ("22stxuh9", WandbRunState.Finished, "local", "demo", Fixture.Commit),
            (run.Id, run.State, run.Entity, run.Project, run.Commit)
        );
        Assert.Equal<(object?, object?, object?)>(
            (0.1, 3L, "two words"),
            (run.Config["lr"], run.Config["epochs"], run.Config["name"])
        );
        Assert.DoesNotContain("_wandb", run.Config.Keys);
        Assert.Equal(1.458, (double)run.Summary["loss"]!, 3);
        var files = shell
            .Ok("Get-WandbRun -Project demo | Get-WandbRunFile")
            .Select(f => (WandbRunFile)f.BaseObject)
            .ToList();
        Assert.Equal(
            [
                "code/train.py",
                "diff.patch",
                "output.log",
                "requirements.txt",
                "wandb-metadata.json",
                "wandb-summary.json",
            ],
            files.Select(f => f.Name)
        );
        var saved = shell
            .Ok("Get-WandbRun -Project demo | Get-WandbRunFile -Name *.patch, code/* -Destination ./saved")
            .Select(f => ((WandbRunFile)f.BaseObject).LocalPath!)
            .ToList();
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(Fixture.OfflineRun, "files", "code", "train.py")),
            File.ReadAllBytes(saved[0])
        );
        Assert.EndsWith(Path.Combine("22stxuh9", "diff.patch"), saved[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_transaction_log_gives_config_history_and_summary()
    {
        var history = new List<string>();
        var run = TransactionLog.Read(Path.Combine(Fixture.OfflineRun, "run-22stxuh9.wandb"), history.Add);
        Assert.Equal(
            ("22stxuh9", "demo", "lab-pc", Fixture.Commit, 0),
            (run.Id, run.Project, run.Host, run.Commit, run.ExitCode)
        );
        Assert.Equal(3, history.Count);
        Assert.Contains("\"loss\":1.458", history[2], StringComparison.Ordinal);
        using var connection = await Fixture.ConnectAsync();
        var data = await connection.Transport.QueryAsync(
            "H",
            "query H { project(name: \"demo\", entityName: \"local\") { run(name: \"22stxuh9\") { historyLineCount history } } }",
            null,
            default
        );
        Assert.Equal("3", data.Text("project", "run", "historyLineCount"));

        // Cut off in the middle, as a killed run leaves it: what is whole counts.
        var cut = Path.Combine(Fixture.NewFolder("cut"), "run-x.wandb");
        await File.WriteAllBytesAsync(
            cut,
            (await File.ReadAllBytesAsync(Path.Combine(Fixture.OfflineRun, "run-22stxuh9.wandb")))[..600]
        );
        var part = TransactionLog.Read(cut, _ => { });
        Assert.True(part.Truncated && part.Id == "22stxuh9" && part.ExitCode is null);
        await File.WriteAllTextAsync(cut, "nonsense");
        Assert.Equal(
            "TransactionLogInvalid",
            Assert.Throws<LaunchException>(() => TransactionLog.Read(cut, _ => { })).ErrorId
        );
    }

    [Fact]
    public async Task Filters_are_done_by_the_server_and_pages_arrive_as_they_come()
    {
        using var connection = await Fixture.ConnectAsync();
        string[] states = ["finished", "failed", "crashed", "running"];
        for (var i = 0; i < 40; i++)
        {
            await connection.Api.UpsertRunAsync(
                new RunUpsert($"filter{i:00}", "local", "filters")
                {
                    DisplayName = $"ResNet-{i}",
                    State = states[i % 4],
                    Tags = i % 2 == 0 ? ["even", "x"] : ["odd"],
                    Config = $"{{\"lr\":{{\"value\":{i}}}}}",
                },
                default
            );
        }

        using var shell = new Shell();
        int Count(string arguments) => shell.Ok("Get-WandbRun -Project filters -PageSize 7 " + arguments).Count;
        Assert.Equal(40, Count(""));
        Assert.Equal(20, Count("-State failed, crashed"));
        Assert.Equal(20, Count("-Tag even"));
        Assert.Equal(10, Count("-Tag even -State finished"));
        Assert.Equal(11, Count("-Name 'resnet-1*'"));
        Assert.Equal(1, Count("-Name 'resnet-[7]'"));
        Assert.Equal(0, Count("-CreatedBefore 2020-01-01"));
        Assert.Equal(40, Count("-CreatedAfter 2020-01-01"));
        Assert.Equal(5, Count("""-Filter '{"config.lr.value": {"$lt": 5}}'"""));
        Assert.Equal(
            "filter00",
            shell.Ok("Get-WandbRun -Project filters -Order '+created_at'")[0].Properties["Id"].Value
        );
        shell.Fails("Get-WandbRun -Project filters -Filter '{'", "FilterInvalid");
        shell.Fails("""Get-WandbRun -Project filters -Filter '{"nope": 1}'""", "GraphQLError");

        // The pipeline stops early: the pages behind are not asked for.
        var before = connection.Transport.Requests;
        var seen = shell.Run(
            "Get-WandbRun -Project filters -PageSize 5 | ForEach-Object { $_; if (++$n -ge 3) { break } }"
        );
        Assert.True(seen.Count <= 3 && connection.Transport.Requests == before);
    }

    [Fact]
    public void Missing_runs_projects_and_files_fail_alone()
    {
        using var shell = new Shell();
        var output = shell.Run(
            "'local/demo/runs/nothere0', 'https://github.com/u/r', 'local/demo/runs/22stxuh9' | Get-WandbRun"
        );
        Assert.Single(output);
        Assert.Equal(["RunNotFound", "RunUriInvalid"], shell.Errors.Select(e => e.FullyQualifiedErrorId.Split(',')[0]));
        Assert.Equal(ErrorCategory.ObjectNotFound, shell.Errors[0].CategoryInfo.Category);
        shell.Fails("Get-WandbRun -Project nothere", "ProjectNotFound");
        shell.Fails("Get-WandbRun", "ProjectMissing");
        shell.Fails("Import-WandbRun ./train", "RunFolderInvalid");
        shell.Fails("Import-WandbRun ./nothere", "RunFolderNotFound");
    }

    [Fact]
    public void The_server_outlives_the_shell_and_keeps_its_data_and_port()
    {
        var path = Path.Combine(Fixture.NewFolder("server"), "own.db");
        string url;
        using (var shell = new Shell(false))
        {
            url = shell
                .Ok(
                    "(Start-WandbLaunchServer $path).Url; $null = Connect-Wandb -Local -Path $path; $null = Import-WandbRun ./wandb -Entity local",
                    ("path", path)
                )[0]
                .ToString();
            Assert.True(
                OperatingSystem.IsWindows()
                    || File.GetUnixFileMode(path + ".key") == (UnixFileMode.UserRead | UnixFileMode.UserWrite)
            );
            Assert.Equal(url, shell.Ok("(Start-WandbLaunchServer $path).Url")[0].ToString());
        }

        using var other = new Shell(false);
        try
        {
            Assert.True((bool)other.Ok("(Get-WandbLaunchServer $path).Running", ("path", path))[0].BaseObject);
            other.Ok("Stop-WandbLaunchServer $path");
            Assert.False((bool)other.Ok("(Get-WandbLaunchServer $path).Running")[0].BaseObject);
            other.Fails("Stop-WandbLaunchServer $path", "ServerNotRunning");
            Assert.Equal(url, other.Ok("(Start-WandbLaunchServer $path).Url")[0].ToString());
            Assert.Single(other.Ok("$null = Connect-Wandb -Local -Path $path; Get-WandbRun -Project demo"));
        }
        finally
        {
            other.Run("Stop-WandbLaunchServer $path");
        }
    }

    [Fact]
    public void Importing_and_removing_the_module_again_works()
    {
        using var shell = new Shell();
        for (var i = 0; i < 2; i++)
        {
            shell.Ok(
                $"Remove-Module WandbLaunch; Import-Module '{Fixture.Module}/WandbLaunch.psd1'; Import-Module '{Fixture.Module}/WandbLaunch.psd1' -Force; $null = New-WandbLaunchConfig x"
            );
        }
    }

    [Fact]
    public async Task A_file_that_was_deleted_after_it_was_listed_is_said_so()
    {
        using var connection = await Fixture.ConnectAsync();
        var folder = Fixture.NewFolder("deleted");
        Fixture.CopyFolder(Fixture.OfflineRun, folder);
        await WandbLaunch.Import.RunFolderImport.ImportAsync(
            connection.Api,
            folder,
            "local",
            "deleted",
            "local",
            Foundation.CallbackProgress.None,
            default
        );
        var run = new RunPath("local", "deleted", "22stxuh9");
        var file = Assert.Single(await connection.Api.FilesAsync(run, ["requirements.txt"], default));
        await using (
            var database = new Microsoft.Data.Sqlite.SqliteConnection(
                "Data Source=" + Path.Combine(Fixture.Root, "server", "wandb.db")
            )
        )
        {
            await database.OpenAsync();
            await using var command = database.CreateCommand();
            command.CommandText =
                "DELETE FROM files WHERE name = 'requirements.txt' AND run IN (SELECT r.id FROM runs r JOIN projects p ON p.id = r.project WHERE p.name = 'deleted')";
            Assert.Equal(1, await command.ExecuteNonQueryAsync());
        }

        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            connection.Api.SaveFileAsync(file, folder, default)
        );
        Assert.Equal("RunFileDeleted", error.ErrorId);
    }

    [Fact]
    public async Task The_address_of_a_file_needs_no_key_and_serves_one_file_one_method_and_one_day()
    {
        using var connection = await Fixture.ConnectAsync();
        var file = Assert.Single(
            await connection.Api.FilesAsync(new RunPath("local", "demo", "22stxuh9"), ["diff.patch"], default)
        );
        using var client = new HttpClient();
        async Task<int> Code(string url, HttpMethod method) =>
            (int)(await client.SendAsync(new HttpRequestMessage(method, new Uri(url)))).StatusCode;
        Assert.Equal(200, await Code(file.Url, HttpMethod.Get));
        Assert.Equal(401, await Code(file.Url, HttpMethod.Put));
        Assert.Equal(
            401,
            await Code(file.Url.Replace("diff.patch", "config.yaml", StringComparison.Ordinal), HttpMethod.Get)
        );
        Assert.Equal(
            401,
            await Code(
                file.Url[..^2] + (file.Url.EndsWith("00", StringComparison.Ordinal) ? "11" : "00"),
                HttpMethod.Get
            )
        );
        Assert.Equal(
            401,
            await Code(file.Url.Replace("expires=", "expires=9", StringComparison.Ordinal), HttpMethod.Get)
        );
        Assert.Equal(
            401,
            await Code(
                Fixture.Server.Url
                    + "/files/local/demo/22stxuh9/diff.patch?"
                    + new WandbLaunch.Server.Auth.UrlSigner(new WandbLaunch.Server.Auth.ServerKey(Fixture.Key)).Sign(
                        "GET",
                        "/files/local/demo/22stxuh9/diff.patch",
                        DateTimeOffset.UtcNow.AddSeconds(-5)
                    ),
                HttpMethod.Get
            )
        );
    }
}
