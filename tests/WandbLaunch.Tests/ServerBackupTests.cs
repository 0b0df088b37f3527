using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server;
using WandbLaunch.Server.Backups;

namespace WandbLaunch.Tests;

/// <summary>Backups of the server: whole while it runs, checked when they are restored, and never over what is there.</summary>
public sealed class ServerBackupTests
{
    private readonly string _folder = Fixture.NewFolder("backup");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Database => Path.Combine(_folder, "wandb.db");

    private string Backup => Path.Combine(_folder, "copy");

    private string Restored => Path.Combine(_folder, "again", "wandb.db");

    [Fact]
    public async Task What_a_running_server_has_is_in_the_backup_and_is_served_again()
    {
        await using (var server = await StartAsync(Database))
        {
            using var client = Client(server);
            await FileAsync(client, "a.txt", "one");
            await FileAsync(client, "b.txt", "two");
            await FileAsync(client, "same.txt", "one");
            var info = ServerBackup.Make(Database, Backup);
            Assert.Equal((2, 2), (info.Files, info.Copied));

            // After it: not in it.
            await FileAsync(client, "c.txt", "three");
        }

        Assert.Equal(2, ServerBackup.Restore(Backup, Restored, false).Files);
        await using var again = await StartAsync(Restored);
        using var asking = Client(again);
        Assert.Equal("one", await asking.GetStringAsync("/files/local/demo/r1/same.txt", Token));
        Assert.Equal("two", await asking.GetStringAsync("/files/local/demo/r1/b.txt", Token));
        using var gone = await asking.GetAsync("/files/local/demo/r1/c.txt", Token);
        Assert.False(gone.IsSuccessStatusCode);
    }

    [Fact]
    public async Task The_next_backup_copies_what_is_new_and_forgets_what_is_gone()
    {
        await using var server = await StartAsync(Database);
        using var client = Client(server);
        await FileAsync(client, "a.txt", "one");
        await FileAsync(client, "b.txt", "two");
        Assert.Equal(2, ServerBackup.Make(Database, Backup).Copied);
        await FileAsync(client, "a.txt", "another");
        var info = ServerBackup.Make(Database, Backup);
        Assert.Equal((2, 1), (info.Files, info.Copied));
        Assert.Equal(
            2,
            Directory.EnumerateFiles(Path.Combine(Backup, "files"), "*", SearchOption.AllDirectories).Count()
        );
    }

    [Fact]
    public async Task It_is_consistent_while_others_write()
    {
        await using var server = await StartAsync(Database);
        using var client = Client(server);
        await FileAsync(client, "0.txt", "first");
        using var end = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var written = 0;
        var writing = Task.Run(
            async () =>
            {
                for (var i = 0; !end.IsCancellationRequested; i++)
                {
                    // The same names again: content goes while it is copied.
                    await FileAsync(client, $"{i % 5}.txt", $"content {i}");
                    Interlocked.Increment(ref written);
                }
            },
            Token
        );
        for (var i = 0; i < 5; i++)
        {
            var before = Volatile.Read(ref written);
            ServerBackup.Make(Database, Backup);
            while (Volatile.Read(ref written) == before && !writing.IsCompleted)
            {
                await Task.Delay(10, Token);
            }
        }

        await end.CancelAsync();
        await writing;
        ServerBackup.Restore(Backup, Restored, false);
        await using var again = await StartAsync(Restored);
        using var asking = Client(again);
        var names = (
            await AskAsync(
                asking,
                "{ project(name: \"demo\", entityName: \"local\") { run(name: \"r1\") { files { edges { node { name } } } } } }"
            )
        )["project"]!["run"]!["files"]!["edges"]!.AsArray();
        Assert.NotEmpty(names);
        foreach (var name in names)
        {
            Assert.NotEqual("", await asking.GetStringAsync($"/files/local/demo/r1/{name!["node"]!["name"]}", Token));
        }
    }

    [Fact]
    public async Task Nothing_is_written_over_a_server_or_data_or_a_foreign_folder()
    {
        await using (var server = await StartAsync(Database))
        {
            using var client = Client(server);
            await FileAsync(client, "a.txt", "one");
            ServerBackup.Make(Database, Backup);
            await FileAsync(client, "a.txt", "two");
            Assert.Equal(StartFault.InUse, Code(() => ServerBackup.Restore(Backup, Database, true)));
        }

        Assert.Equal(StartFault.Occupied, Code(() => ServerBackup.Restore(Backup, Database, false)));
        ServerBackup.Restore(Backup, Database, true);
        Assert.True(File.Exists(Database + ".before-restore"));
        Assert.True(Directory.Exists(Database + ".before-restore.files"));
        await using (var server = await StartAsync(Database))
        {
            using var client = Client(server);
            Assert.Equal("one", await client.GetStringAsync("/files/local/demo/r1/a.txt", Token));
        }

        var foreign = Directory.CreateDirectory(Path.Combine(_folder, "photos")).FullName;
        await File.WriteAllTextAsync(Path.Combine(foreign, "cat.jpg"), "cat", Token);
        Assert.Equal(StartFault.Occupied, Code(() => ServerBackup.Make(Database, foreign)));
        var other = Path.Combine(_folder, "other.db");
        await (await StartAsync(other)).DisposeAsync();
        Assert.Equal(StartFault.Occupied, Code(() => ServerBackup.Make(other, Backup)));
        Assert.Equal(StartFault.Invalid, Code(() => ServerBackup.Restore(foreign, Restored, false)));
        Assert.Equal(
            StartFault.Database,
            Code(() => ServerBackup.Make(Path.Combine(_folder, "gone.db"), Path.Combine(_folder, "x")))
        );
        Assert.False(Directory.Exists(Path.Combine(_folder, "x")));
    }

    [Fact]
    public async Task A_damaged_backup_is_refused_before_anything_is_touched()
    {
        await using (var server = await StartAsync(Database))
        {
            using var client = Client(server);
            await FileAsync(client, "a.txt", "one");
            ServerBackup.Make(Database, Backup);
        }

        var before = await File.ReadAllBytesAsync(Database, Token);
        var file = Directory.EnumerateFiles(Path.Combine(Backup, "files"), "*", SearchOption.AllDirectories).Single();
        await File.WriteAllTextAsync(file, "eno", Token);
        Assert.Equal(StartFault.Invalid, Code(() => ServerBackup.Restore(Backup, Database, true)));
        File.Delete(file);
        Assert.Equal(StartFault.Invalid, Code(() => ServerBackup.Restore(Backup, Database, true)));
        Assert.Equal(before, await File.ReadAllBytesAsync(Database, Token));
        Assert.False(File.Exists(Database + ".before-restore"));
    }

    [Fact]
    public async Task A_first_one_that_was_cut_off_goes_on_and_is_none_until_then()
    {
        await using var server = await StartAsync(Database);
        using var client = Client(server);
        await FileAsync(client, "a.txt", "one");
        await FileAsync(client, "b.txt", "two");
        var content = Directory.EnumerateFiles(Database + ".files", "*", SearchOption.AllDirectories).First();
        var hidden = Path.Combine(_folder, "hidden");
        File.Move(content, hidden);
        Assert.Equal(StartFault.Backup, Code(() => ServerBackup.Make(Database, Backup)));
        Assert.Equal(StartFault.Invalid, Code(() => ServerBackup.Restore(Backup, Restored, false)));
        File.Move(hidden, content);
        var made = ServerBackup.Make(Database, Backup);
        Assert.Equal((2, 1), (made.Files, made.Copied));
        Assert.Equal(2, ServerBackup.Restore(Backup, Restored, false).Files);
    }

    [Fact]
    public async Task Two_into_one_folder_do_not_meet()
    {
        await using var server = await StartAsync(Database);
        using var client = Client(server);
        await FileAsync(client, "a.txt", "one");
        var one = Task.Run(() => Many(), Token);
        var two = Task.Run(() => Many(), Token);
        for (var i = 0; i < 20; i++)
        {
            await FileAsync(client, "a.txt", $"content {i}");
        }

        await Task.WhenAll(one, two);
        ServerBackup.Make(Database, Backup);
        Assert.Equal(1, ServerBackup.Restore(Backup, Restored, false).Files);

        void Many()
        {
            for (var i = 0; i < 20; i++)
            {
                try
                {
                    ServerBackup.Make(Database, Backup);
                }
                catch (StartFault e) when (e.Message.Contains("under way", StringComparison.Ordinal))
                {
                    Thread.Sleep(5);
                }
            }
        }
    }

    [Fact]
    public async Task Behind_a_link_the_content_is_where_the_server_has_it()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right of their own there");
        var real = Path.Combine(Directory.CreateDirectory(Path.Combine(_folder, "disk")).FullName, "real.db");
        await (await StartAsync(real)).DisposeAsync();
        File.CreateSymbolicLink(Database, real);
        await using (var server = await StartAsync(Database))
        {
            using var client = Client(server);
            await FileAsync(client, "a.txt", "one");
            Assert.Equal(1, ServerBackup.Make(Database, Backup).Files);
            await FileAsync(client, "a.txt", "two");
        }

        ServerBackup.Restore(Backup, Database, true);
        await using var again = await StartAsync(Database);
        using var asking = Client(again);
        Assert.Equal("one", await asking.GetStringAsync("/files/local/demo/r1/a.txt", Token));
    }

    [Fact]
    public async Task Nothing_behind_a_link_in_the_folder_is_touched()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right of their own there");
        await using var server = await StartAsync(Database);
        using var client = Client(server);
        await FileAsync(client, "a.txt", "one");
        ServerBackup.Make(Database, Backup);
        var home = Directory.CreateDirectory(Path.Combine(_folder, "home")).FullName;
        var letter = Path.Combine(home, "letter.txt");
        await File.WriteAllTextAsync(letter, "dear", Token);
        Directory.CreateSymbolicLink(Path.Combine(Backup, "files", "x"), home);
        File.CreateSymbolicLink(Path.Combine(Backup, "backup.json.new"), letter);
        ServerBackup.Make(Database, Backup);
        Assert.Equal("dear", await File.ReadAllTextAsync(letter, Token));
    }

    private static int Code(Action act) => Assert.Throws<StartFault>(act).ExitCode;

    private static Task<LaunchServer> StartAsync(string path) =>
        LaunchServer.StartAsync(new LaunchServerOptions(path, "127.0.0.1", 0, Fixture.Key));

    private static HttpClient Client(LaunchServer server)
    {
        var client = new HttpClient { BaseAddress = new Uri(server.Url) };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Fixture.Key);
        return client;
    }

    private static async Task FileAsync(HttpClient client, string name, string content)
    {
        await AskAsync(
            client,
            "mutation { upsertBucket(input: {entityName: \"local\", modelName: \"demo\", name: \"r1\"}) { bucket { id } } }"
        );
        using var answer = await client.PutAsync($"/files/local/demo/r1/{name}", new StringContent(content), Token);
        answer.EnsureSuccessStatusCode();
    }

    private static async Task<JsonNode> AskAsync(HttpClient client, string query)
    {
        using var response = await client.PostAsJsonAsync("/graphql", new { query }, Token);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync(Token))!;
        Assert.True(answer["errors"] is null, answer.ToJsonString());
        return answer["data"]!;
    }
}
