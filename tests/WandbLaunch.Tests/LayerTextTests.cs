using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Tests;

/// <summary>The reader and writer of long lists against the serializer, which they stand for.</summary>
public sealed class LayerTextTests
{
    // Every key that there is, with a value that is none of its default.
    private const string All = """
        {"uri":"https://github.com/me/tra\u00edn","job":"me/p/j:latest","entity":"me","project":"p","name":"a \"name\" <&> ü",
        "resource":"slurm","resource_args":{"slurm":{"time":"1:00"}},
        "docker":{"docker_image":"python:3.11","user_id":7,"args":{"cpus":2},"base_image":"debian","python_version":"3.11",
        "cuda_version":"12","system_packages":["git"],"build_image":true,"newer":[1,{"a":null}]},
        "git":{"version":"main","repo":"https://github.com/me/other","git_version":"x","newer":{}},
        "overrides":{"args":["--lr",0.1,null],"run_config":{"lr":0.1},"artifacts":{"d":"x"},"entry_point":["python","a b.py"],
        "dockerfile":"D","working_dir":"w","files":{"f.yaml":{"a":1}},"newer":"x"},
        "cuda":false,"run_id":"abcd1234","sweep_id":"s","template_variables":{"v":1},"build":{"type":"x"},"builder":{"type":"noop"},
        "registry":{"url":"r"},"job_name":"jn","python_version":"3.10","image_uri":"i","additional_services":[{"kind":"x"}],
        "_resume_count":2,"_wandb_api_key":"secret","author":"a","queue_entity":"q","time_limit":"01:30:00","start_limit":"90s",
        "from a newer version":{"deep":[[1]]}}
        """;

    public static TheoryData<string> Texts() =>
        [
            All,
            "{}",
            """{"uri":null,"docker":null,"cuda":null,"_resume_count":null,"time_limit":null,"overrides":{"args":null}}""",
            """{"uri":"","docker":{},"git":{"version":""},"overrides":{"args":[]},"resource_args":{}}""",
            """{"ur\u0069":"escaped","Uri":"another case","overrides":{"args":{"lr":0.1,"flag":true}}}""",
            """{"uri":7,"cuda":"true","_resume_count":"3","overrides":{"entry_point":"python 'a b.py'"}}""",
            """{"overrides":{"entry_point":["a",1,null,{"b":2}]},"uri":1e3}""",
        ];

    [Theory]
    [MemberData(nameof(Texts))]
    public void What_is_as_it_should_be_is_read_and_written_as_the_serializer_does_it(string text)
    {
        var theirs = JsonSerializer.Deserialize(text, LaunchConfigJson.Strict.LaunchConfig)!;
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text));
        reader.Read();
        var ours = LayerText<LaunchConfig>.Read(ref reader);
        Assert.Equal(JsonTokenType.EndObject, reader.TokenType);
        Assert.False(reader.Read());

        // Each with each, so that neither side's mistake can hide the other's.
        var expected = JsonSerializer.Serialize(theirs, LaunchConfigJson.Strict.LaunchConfig);
        Assert.Equal(expected, JsonSerializer.Serialize(ours, LaunchConfigJson.Strict.LaunchConfig));
        Assert.Equal(expected, Written(theirs));
        Assert.Equal(expected, Written(ours));
    }

    [Fact]
    public void Every_key_that_there_is_is_in_the_test()
    {
        var map = (JsonObject)JsonNode.Parse(All)!;
        Check(map, LaunchConfigJson.Strict.LaunchConfig);
        Check((JsonObject)map["docker"]!, LaunchConfigJson.Strict.DockerSection);
        Check((JsonObject)map["git"]!, LaunchConfigJson.Strict.GitSection);
        Check((JsonObject)map["overrides"]!, LaunchConfigJson.Strict.OverridesSection);

        static void Check(JsonObject map, System.Text.Json.Serialization.Metadata.JsonTypeInfo type) =>
            Assert.Equal(
                type.Properties.Where(p => !p.IsExtensionData).Select(p => p.Name).Order(StringComparer.Ordinal),
                map.Select(p => p.Key)
                    .Where(k => !k.Contains("newer", StringComparison.Ordinal))
                    .Order(StringComparer.Ordinal)
            );
    }

    [Theory]
    [InlineData("""{"docker":[]}""")]
    [InlineData("""{"docker":{"user_id":-1}}""")]
    [InlineData("""{"uri":{"a":1},"cuda":"maybe"}""")]
    [InlineData("""{"overrides":"python","git":{"version":["x"]}}""")]
    [InlineData("""{"_resume_count":1.5,"time_limit":"soon"}""")]
    [InlineData("""{"overrides":{"args":"--lr"}}""")]
    public void What_is_not_is_the_same_error(string text)
    {
        var theirs = Record.Exception(() => LaunchConfig.FromJson((JsonObject)JsonNode.Parse(text)!));
        var ours = Record.Exception(() => LaunchConfig.FromUtf8(Encoding.UTF8.GetBytes(text)));
        Assert.Equal(theirs?.Message, ours?.Message);
        Assert.Equal((theirs as LaunchException)?.ErrorId, (ours as LaunchException)?.ErrorId);
    }

    private static string Written(LaunchConfig config)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            config.Write(writer, null, null);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
