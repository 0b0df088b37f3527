using System.Globalization;
using System.Text;
using System.Text.Json;
using WandbLaunch.Server.Pages;

namespace WandbLaunch.Tests;

/// <summary>The short way to read a row of history reads what JSON's reader reads, and leaves to it all else.</summary>
public sealed class PlainNumbersTests
{
    [Fact]
    public void Numbers_are_those_of_the_reader()
    {
        var random = new Random(7);
        var texts = new List<string> { "0", "-0", "1", "-1.5", "1e3", "1E-3", "0.1", "123456789012345678", "2.5e+10" };
        for (var i = 0; i < 5_000; i++)
        {
            var number = (random.NextDouble() - 0.5) * Math.Pow(10, random.Next(-5, 12));
            texts.Add(number.ToString("R", CultureInfo.InvariantCulture));
            texts.Add(number.ToString("F6", CultureInfo.InvariantCulture));
        }

        foreach (var text in texts)
        {
            var at = 0;
            Assert.True(PlainNumbers.TryNumber(Encoding.UTF8.GetBytes(text), ref at, out var value), text);
            var exact = JsonDocument.Parse(text).RootElement.GetDouble();
            Assert.True(Math.Abs(value - exact) <= Math.Abs(exact) * 1e-15, $"{text} was read as {value:R}");
            Assert.Equal(text.Length, at);
        }
    }

    [Theory]
    [InlineData("01")]
    [InlineData(".5")]
    [InlineData("5.")]
    [InlineData("+1")]
    [InlineData("1e")]
    [InlineData("-")]
    [InlineData("NaN")]
    [InlineData("Infinity")]
    [InlineData("\"1\"")]
    [InlineData("null")]
    [InlineData("1e300")]
    [InlineData("1e99999999999999999999")]
    [InlineData("1234567890123456789")]
    [InlineData("")]
    public void What_is_no_plain_number_is_left_to_the_reader(string text)
    {
        var at = 0;
        Assert.False(PlainNumbers.TryNumber(Encoding.UTF8.GetBytes(text), ref at, out _));
        Assert.Equal(0, at);
    }

    [Theory]
    [InlineData("\"a\\u0062\":1")]
    [InlineData("\"open")]
    [InlineData("\"a\" 1")]
    [InlineData("a:1")]
    public void What_is_no_plain_name_is_left_to_the_reader(string text)
    {
        var at = 0;
        Assert.False(PlainNumbers.TryName(Encoding.UTF8.GetBytes(text), ref at, out _));
    }
}
